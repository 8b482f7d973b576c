import type { InputFormat } from "../guest/input-format.js";
import type { ByteSource } from "../io/byte-source.js";

/**
 * The format of an input whose first bytes are damaged, by what follows them; undefined where nothing proves any.
 * @param except a format that was tried
 */
export async function findDamaged(input: ByteSource, except?: InputFormat): Promise<InputFormat | undefined> {
  const { FORMATS } = await import("./formats.js");
  for (const format of FORMATS)
    if (format !== except && (await format.matchesDamaged?.(input)) === true) return format;
  return undefined;
}
