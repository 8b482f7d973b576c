import { UsageError } from "../findings/errors.js";
import type { BlockAddress } from "../guest/options.js";

/** `BLOCK@ADDRESS` of `--map`, each may be given again: addresses of RAM blocks. @throws UsageError for any other form */
export function parseBlockMap(texts: readonly string[]): BlockAddress[] {
  return texts.map((text) => {
    const at = text.lastIndexOf("@");
    const address = at < 1 || at === text.length - 1 ? Number.NaN : Number(text.slice(at + 1));
    if (!Number.isSafeInteger(address) || address < 0)
      throw new UsageError(`--map ${text}: BLOCK@ADDRESS is expected`);
    return { block: text.slice(0, at), address };
  });
}
