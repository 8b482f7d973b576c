import { type ByteOrder, readU64, viewOf } from "../binary/layout.js";
import { elfLayouts, type ElfBits, type Phdr } from "./layout.js";

/** Program headers, a column a field: a core may have hundreds of thousands. */
export interface SegmentTable {
  readonly length: number;
  readonly type: Uint32Array;
  readonly flags: Uint32Array;
  readonly offset: Float64Array;
  readonly vaddr: BigUint64Array;
  readonly paddr: BigUint64Array;
  readonly filesz: Float64Array;
  readonly memsz: Float64Array;
  readonly align: BigUint64Array;
  /** One header as a record. */
  at(index: number): Phdr;
}

/** Decodes program headers that are in a row. @throws FormatError `binary/overflow` for offsets beyond 2^53. */
export function readSegments(bytes: Uint8Array, bits: ElfBits, order: ByteOrder): SegmentTable {
  const { phdr } = elfLayouts(bits);
  const count = Math.floor(bytes.length / phdr.size);
  const view = viewOf(bytes);
  const little = order === "little";
  const field = (name: keyof Phdr): ((at: number) => number) => {
    const offset = phdr.offsetOf(name);
    return bits === 64
      ? (at) => readU64(view, at + offset, little)
      : (at) => view.getUint32(at + offset, little);
  };
  const address = (name: keyof Phdr): ((at: number) => bigint) => {
    const offset = phdr.offsetOf(name);
    return bits === 64
      ? (at) => view.getBigUint64(at + offset, little)
      : (at) => BigInt(view.getUint32(at + offset, little));
  };
  const flagsAt = phdr.offsetOf("p_flags");
  const [offset, filesz, memsz] = [field("p_offset"), field("p_filesz"), field("p_memsz")];
  const [vaddr, paddr, align] = [address("p_vaddr"), address("p_paddr"), address("p_align")];
  const table = {
    length: count,
    type: new Uint32Array(count),
    flags: new Uint32Array(count),
    offset: new Float64Array(count),
    vaddr: new BigUint64Array(count),
    paddr: new BigUint64Array(count),
    filesz: new Float64Array(count),
    memsz: new Float64Array(count),
    align: new BigUint64Array(count),
    at: (index: number): Phdr => phdr.read(view, index * phdr.size, order),
  };
  for (let i = 0, at = 0; i < count; i += 1, at += phdr.size) {
    table.type[i] = view.getUint32(at, little);
    table.flags[i] = view.getUint32(at + flagsAt, little);
    table.offset[i] = offset(at);
    table.vaddr[i] = vaddr(at);
    table.paddr[i] = paddr(at);
    table.filesz[i] = filesz(at);
    table.memsz[i] = memsz(at);
    table.align[i] = align(at);
  }
  return table;
}
