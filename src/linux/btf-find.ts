import type { AddressSpace } from "./address-space.js";
import { BTF_MAGIC, Btf, btfHeader } from "./btf.js";
import { searchImage } from "./image-sweep.js";
import { symbolEntry, type VmcoreInfoMap } from "./kernel-tables.js";
import { readUpTo } from "./read.js";
import { absent, LINUX_RULES } from "./rules.js";
import type { SymbolTable } from "./symbols.js";
import { FormatError } from "../io/errors.js";

/** Bytes of one block of BTF. */
const MOST_BTF = 64 << 20;
/** A kernel's own types: fewer are a coincidence. */
const FEWEST_TYPES = 1000;
/** Places with BTF's magic number that are tried. */
const MOST_HITS = 64;
/** Magic number, version 1, flags 0, a header of 24 bytes, types right after it. */
const HEAD = Uint8Array.from([0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0]);

/**
 * The kernel's own BTF: between the symbols that bound it, else where the kernel's image holds a block that can be
 * decoded.
 *
 * @throws AbsentError `linux/types/absent`, FormatError `linux/btf/damaged`
 */
export async function readKernelBtf(
  space: AddressSpace,
  info: VmcoreInfoMap,
  symbols: SymbolTable | undefined,
): Promise<Btf> {
  const start = symbols?.address("__start_BTF");
  const stop = symbols?.address("__stop_BTF");
  if (start !== undefined && stop !== undefined && stop > start && stop - start <= BigInt(MOST_BTF)) {
    const length = Number(stop - start);
    const bytes = await readUpTo(space, start, length);
    if (bytes.length < length)
      throw absent(
        LINUX_RULES.noTypes,
        `the kernel's types can't be had: ${await space.whyUnreadable(start + BigInt(bytes.length))}`,
      );
    return new Btf(bytes);
  }
  const text = symbols?.address("_stext") ?? symbolEntry(info, "_stext");
  const found = text === undefined ? undefined : await searchBtf(space, text);
  if (found === undefined)
    throw absent(LINUX_RULES.noTypes, "the kernel's types can't be had: its image holds no BTF");
  return found;
}

async function searchBtf(space: AddressSpace, text: bigint): Promise<Btf | undefined> {
  let left = MOST_HITS;
  for await (const hit of searchImage(space, text, HEAD)) {
    left -= 1;
    if (left < 0) return undefined;
    const btf = await btfAt(space, hit);
    if (btf !== undefined && btf.endId > FEWEST_TYPES) return btf;
  }
  return undefined;
}

/** The block of BTF at `va`; undefined when what is there can't be decoded. */
async function btfAt(space: AddressSpace, va: bigint): Promise<Btf | undefined> {
  const head = await readUpTo(space, va, btfHeader.size);
  if (head.length < btfHeader.size) return undefined;
  const { magic, headerLength, stringOffset, stringLength } = btfHeader.decode(head, "little");
  const length = headerLength + stringOffset + stringLength;
  if (magic !== BTF_MAGIC || length > MOST_BTF) return undefined;
  try {
    return new Btf(await readUpTo(space, va, length));
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}
