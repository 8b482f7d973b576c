/** A file by its path: absolute, and the same on every host that works. */
export interface FileInput {
  readonly kind: "file";
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Time of last change in nanoseconds since 1970, in decimal digits. */
  readonly mtime: string;
}

/** An object behind http(s); a signature may be part of its URL. */
export interface UrlInput {
  readonly kind: "url";
  readonly url: string;
  /** Bytes, where the server tells. */
  readonly size?: number;
  readonly etag?: string;
  /** Last-Modified, where there is no ETag. */
  readonly modified?: string;
}

/** Something to work on, in the state in which it was submitted. */
export type Source = FileInput | UrlInput;

/** Its name in reports and keys: a URL without user, password, query and fragment, which may be secret or change. */
export function nameOf(source: Source): string {
  return source.kind === "file" ? source.path : publicUrl(source.url);
}

/** A URL without what may be secret. */
export function publicUrl(text: string): string {
  if (!URL.canParse(text)) return text.replace(/[?#].*$/s, "");
  const url = new URL(text);
  return `${url.protocol}//${url.host}${url.pathname}`;
}
