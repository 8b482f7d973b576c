import { appendTo } from "../../binary/arrays.js";
import { type ByteOrder, viewOf } from "../../binary/layout.js";
import { type LostPart, type Patch, type Resumption, Resynchronizer } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { readBefore } from "../../io/lost-bytes.js";
import { MAX_BODY_LENGTH, recordHeader } from "../libxc/layout.js";
import { EMULATOR_NAMES, LIBXL_RECORD, libxlEmulatorHeader } from "../libxl/layout.js";
import type { RecordHead, RecordWalk } from "./record-walk.js";
import { skipRecords } from "./skip-records.js";

const KNOWN: ReadonlySet<number> = new Set(Object.values(LIBXL_RECORD));
/** Bytes of the handshake that may follow the last END. */
const HANDSHAKE = 64;
/** Records of one stream's end. */
const MOST_RECORDS = 4096;
/** The last bytes of a stream that are searched for records. */
const SEARCHED = 64 << 20;

/** What bridges the damaged records of the libxl layer after a stream's memory. */
export interface LibxlSalvage {
  readonly lost: readonly LostPart[];
  readonly patches: readonly Patch[];
}

/** Bridges damage in the records of the libxl layer that follow libxc's END. @param from where they begin */
export async function salvageLibxl(
  input: ByteSource,
  walk: RecordWalk,
  from: number,
  order: ByteOrder,
): Promise<LibxlSalvage> {
  const tail = new Tail(input, walk, order);
  const lost: LostPart[] = [];
  const patches: Patch[] = [];
  const { size } = input;
  for (let at = from, count = 0; count < MOST_RECORDS; count += 1) {
    const header = await walk.header(at);
    if (header === undefined) break;
    if (tail.isEnd(header)) break;
    if (await tail.isRecord(at, header)) {
      at = header.next;
      continue;
    }
    const found = await tail.resume(at + recordHeader.size);
    const isCut = KNOWN.has(header.type) && header.length <= MAX_BODY_LENGTH && header.next > size;
    if (found === undefined && isCut) break;
    const last = size - recordHeader.size;
    if (found === undefined && (last < at || (last - at) % recordHeader.size !== 0)) break;
    const end = found?.at ?? last;
    const what = "records of the emulator's state";
    appendTo(patches, skipRecords(at, end, order));
    if (found === undefined) {
      // nothing but END can be where the input ends
      const bytes = recordHeader.encode({ type: LIBXL_RECORD.END, bodyLength: 0 }, order);
      patches.push({ offset: last, bytes });
      lost.push({ start: at, end: size, proof: 0, what });
      break;
    }
    lost.push({ start: at, end, proof: found.proof, what });
    at = end;
  }
  return { lost, patches };
}

/**
 * The first place from `from` on at which records of libxl in a row go up to the END that the input ends with, which may
 * be all that is left.
 */
export async function resumeLibxl(
  input: ByteSource,
  walk: RecordWalk,
  from: number,
  order: ByteOrder,
): Promise<Resumption | undefined> {
  return new Tail(input, walk, order).resume(from);
}

class Tail {
  readonly #input: ByteSource;
  readonly #walk: RecordWalk;
  readonly #order: ByteOrder;

  constructor(input: ByteSource, walk: RecordWalk, order: ByteOrder) {
    this.#input = input;
    this.#walk = walk;
    this.#order = order;
  }

  isEnd({ type, length, next }: RecordHead): boolean {
    const { size } = this.#input;
    return type === LIBXL_RECORD.END && length === 0 && (next === size || next + HANDSHAKE === size);
  }

  async isRecord(at: number, { type, length, next }: RecordHead): Promise<boolean> {
    if (!KNOWN.has(type) || type === LIBXL_RECORD.END || next > this.#input.size) return false;
    if (type !== LIBXL_RECORD.EMULATOR_CONTEXT && type !== LIBXL_RECORD.EMULATOR_XENSTORE_DATA) return true;
    if (length < libxlEmulatorHeader.size) return false;
    const bytes = new Uint8Array(libxlEmulatorHeader.size);
    if ((await readBefore(this.#input, at + recordHeader.size, bytes)) < bytes.length) return false;
    return libxlEmulatorHeader.read(viewOf(bytes), 0, this.#order).emulatorId < EMULATOR_NAMES.length;
  }

  async resume(from: number): Promise<Resumption | undefined> {
    const { size } = this.#input;
    const little = this.#order === "little";
    const finder = new Resynchronizer(this.#input, {
      step: recordHeader.size,
      head: recordHeader.size,
      isLikely: (view, at) => {
        const type = view.getUint32(at, little);
        return type !== LIBXL_RECORD.END && KNOWN.has(type) && view.getUint32(at + 4, little) <= size;
      },
      proof: (at) => this.#proof(at),
    });
    const start = Math.max(from, from + Math.ceil((size - SEARCHED - from) / 8) * 8);
    const found = await finder.resume(start);
    if (found !== undefined) return found;
    for (const last of [size - recordHeader.size, size - recordHeader.size - HANDSHAKE]) {
      if (last < from || (last - from) % recordHeader.size !== 0) continue;
      const header = await this.#walk.header(last);
      if (header !== undefined && this.isEnd(header)) return { at: last, proof: 1 };
    }
    return undefined;
  }

  async #proof(offset: number): Promise<number> {
    for (let at = offset, count = 1; count < MOST_RECORDS; count += 1) {
      const header = await this.#walk.header(at);
      if (header === undefined) return 0;
      if (this.isEnd(header)) return count;
      if (!(await this.isRecord(at, header))) return 0;
      at = header.next;
    }
    return 0;
  }
}
