import type { InputFormat } from "../guest/input-format.js";
import type { ByteSource } from "../io/byte-source.js";
import { LostBytesError } from "../io/lost-bytes.js";

/** How inputs whose first bytes are damaged are recognised, what costs more after what costs less. */
const WAYS = ["matchesDamaged", "matchesFar"] as const;

/** Whether an input is of a format whose first bytes are damaged; where what would prove it is lost, it is none. */
async function matches(format: InputFormat, way: (typeof WAYS)[number], input: ByteSource): Promise<boolean> {
  try {
    return (await format[way]?.(input)) === true;
  } catch (error) {
    if (error instanceof LostBytesError) return false;
    throw error;
  }
}

/** What was found in inputs before: a check and the map of what is left ask the same. */
const FOUND = new WeakMap<ByteSource, { readonly format: InputFormat | undefined }>();

/**
 * The format of an input whose first bytes are damaged, by what follows them; undefined where nothing proves any. An input is
 * looked through once.
 * @param except a format that was tried
 */
export async function findDamaged(input: ByteSource, except?: InputFormat): Promise<InputFormat | undefined> {
  if (except !== undefined) return search(input, except);
  const found = FOUND.get(input) ?? { format: await search(input, undefined) };
  FOUND.set(input, found);
  return found.format;
}

async function search(input: ByteSource, except: InputFormat | undefined): Promise<InputFormat | undefined> {
  const { FORMATS } = await import("./formats.js");
  for (const way of WAYS)
    for (const format of FORMATS) if (format !== except && (await matches(format, way, input))) return format;
  return undefined;
}
