import { UsageError } from "../findings/errors.js";

/** `ID=FILE` of `--backing`, each may be given again: files by memory backend (or RAM block). */
export function parseBackings(texts: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const [, id, path] = /^([^=]+)=(.+)$/.exec(text) ?? [];
      if (id === undefined || path === undefined)
        throw new UsageError(`--backing ${text}: ID=FILE is expected`);
      return [id, path];
    }),
  );
}
