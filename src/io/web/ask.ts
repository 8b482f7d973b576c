/** What is used of an answer's body: `ReadableStream` has it. */
export interface AnswerBody {
  getReader(): { read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }> };
}

/** What is used of a server's answer: `Response` has it. */
export interface WebAnswer {
  readonly status: number;
  readonly statusText: string;
  readonly headers: { get(name: string): string | null };
  /** Address that answered, after redirects; empty where it isn't known. */
  readonly url: string;
  readonly body: AnswerBody | null;
}

/** Asks a server for what is at an address, following redirects: what is used of `fetch`. */
export type Ask = (
  url: string,
  init: {
    readonly headers: Readonly<Record<string, string>>;
    readonly signal: AbortSignal;
    readonly cache: "no-store";
  },
) => Promise<WebAnswer>;
