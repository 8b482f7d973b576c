import { viewOf } from "../../binary/layout.js";
import { SAVE_TYPE, saveDescriptor } from "./layout.js";

/** One entry of an HVM save context. */
export interface HvmContextEntry {
  readonly typecode: number;
  readonly instance: number;
  readonly body: Uint8Array;
}

/** The entries of an HVM save context up to its END, as far as they are whole. */
export function* hvmContextEntries(context: Uint8Array): Generator<HvmContextEntry, void, void> {
  const view = viewOf(context);
  for (let at = 0; at + saveDescriptor.size <= context.length; ) {
    const { typecode, instance, length } = saveDescriptor.read(view, at, "little");
    const start = at + saveDescriptor.size;
    if (typecode === SAVE_TYPE.END || start + length > context.length) return;
    yield { typecode, instance, body: context.subarray(start, start + length) };
    at = start + length;
  }
}
