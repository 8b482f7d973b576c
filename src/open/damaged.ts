import type { InputFormat } from "../guest/input-format.js";
import type { ByteSource } from "../io/byte-source.js";
import { LostBytesError } from "../io/lost-bytes.js";

/** Whether an input is of a format whose first bytes are damaged; where what would prove it is lost, it is none. */
async function matches(format: InputFormat, input: ByteSource): Promise<boolean> {
  try {
    return (await format.matchesDamaged?.(input)) === true;
  } catch (error) {
    if (error instanceof LostBytesError) return false;
    throw error;
  }
}

/**
 * The format of an input whose first bytes are damaged, by what follows them; undefined where nothing proves any.
 * @param except a format that was tried
 */
export async function findDamaged(input: ByteSource, except?: InputFormat): Promise<InputFormat | undefined> {
  const { FORMATS } = await import("./formats.js");
  for (const format of FORMATS) if (format !== except && (await matches(format, input))) return format;
  return undefined;
}
