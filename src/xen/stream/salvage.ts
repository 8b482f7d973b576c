import { appendTo } from "../../binary/arrays.js";
import { type ByteOrder, viewOf } from "../../binary/layout.js";
import {
  type LostPart,
  type Patch,
  patchedSource,
  type Resumption,
  Resynchronizer,
  type Salvage,
  withoutParts,
} from "../../guest/salvage.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import {
  LIBXC_RECORD,
  MAX_BODY_LENGTH,
  OPTIONAL_TYPE,
  PAGE_TYPE_DEFINED,
  PAGE_TYPE_HAS_DATA,
  pageDataHeader,
  recordHeader,
} from "../libxc/layout.js";
import { LIBXL_RECORD } from "../libxl/layout.js";

/*
 * Damage inside the libxc layer is bridged by one optional record over it, which every reader skips. Records begin at
 * multiples of eight bytes from the first, so such places are looked at first; others where bytes are missing or were
 * inserted. A PAGE_DATA record proves itself: its length follows from its entries. Where none is left, records up to END
 * must have their exact forms.
 */

/** Records begin at multiples of so many bytes; it is a record header's size, too. */
const ALIGNMENT = 8;
/** Records in a row that are checked after a lost part. */
const PROOF = 3;
/** Records of state that follow the last batch: no real guest has more, with some for each vCPU. */
const MOST_STATE_RECORDS = 4096;
/** Lost parts of one input. */
const MOST_PARTS = 10_000;
const KNOWN: ReadonlySet<number> = new Set(Object.values(LIBXC_RECORD));
const LIBXL_KNOWN: ReadonlySet<number> = new Set(Object.values(LIBXL_RECORD));
/** Entries of one record: more are no plausible batch. */
const MOST_ENTRIES = 1 << 16;
/** No machine has frames from here on: 2^40, of which the upper word's share. */
const PFN_HIGH_LIMIT = 0x100;

interface Header {
  readonly type: number;
  readonly length: number;
  /** Where the next record begins. */
  readonly next: number;
}

/** How far a record can be believed: not at all, by its form, or by its contents. */
type Trust = "none" | "form" | "proven";

class Walk {
  readonly #input: ByteSource;
  readonly #order: ByteOrder;
  readonly #bytes = new Uint8Array(recordHeader.size);

  constructor(input: ByteSource, order: ByteOrder) {
    this.#input = input;
    this.#order = order;
  }

  async header(offset: number): Promise<Header | undefined> {
    if ((await readFully(this.#input, offset, this.#bytes)) < recordHeader.size) return undefined;
    const { type, bodyLength: length } = recordHeader.read(viewOf(this.#bytes), 0, this.#order);
    return { type, length, next: offset + recordHeader.size + length + (-length & 7) };
  }

  async trust(offset: number, { type, length, next }: Header): Promise<Trust> {
    if (length > MAX_BODY_LENGTH || next > this.#input.size) return "none";
    if (type === LIBXC_RECORD.PAGE_DATA) return (await this.#isBatch(offset, length)) ? "proven" : "none";
    if (!KNOWN.has(type)) return "none";
    const isEmpty = EMPTY.has(type);
    if (isEmpty !== (length === 0) || length > MOST_STATE) return "none";
    return "form";
  }

  /** Whether a PAGE_DATA record's length is what its entries ask for. */
  async #isBatch(offset: number, length: number): Promise<boolean> {
    if (length < pageDataHeader.size) return false;
    const head = new Uint8Array(pageDataHeader.size);
    const body = offset + recordHeader.size;
    if ((await readFully(this.#input, body, head)) < head.length) return false;
    const little = this.#order === "little";
    const count = viewOf(head).getUint32(0, little);
    if (count === 0 || count > MOST_ENTRIES || head.length + count * 8 > length) return false;
    const entries = new Uint8Array(count * 8);
    if ((await readFully(this.#input, body + head.length, entries)) < entries.length) return false;
    const view = viewOf(entries);
    let pages = 0;
    for (let at = 0; at < entries.length; at += 8) {
      const high = view.getUint32(at + (little ? 4 : 0), little);
      const type = high >>> 28;
      if (PAGE_TYPE_DEFINED[type] !== true || (high & 0x0fff_ffff) >= PFN_HIGH_LIMIT) return false;
      if (PAGE_TYPE_HAS_DATA[type] === true) pages += 1;
    }
    return head.length + entries.length + pages * PAGE_SIZE === length;
  }

  /** How many records in a row begin at a place, PROOF at most; 0 where they prove nothing. */
  async proof(offset: number): Promise<number> {
    let isProven = false;
    let count = 0;
    // state alone proves nothing until the end is reached
    for (let at = offset; count < (isProven ? PROOF : MOST_STATE_RECORDS); ) {
      const header = await this.header(at);
      const trust = header === undefined ? "none" : await this.trust(at, header);
      if (header === undefined || trust === "none") return isProven && count > 1 ? count : 0;
      isProven ||= trust === "proven";
      count += 1;
      // zeros look like END: it counts only after others
      if (header.type === LIBXC_RECORD.END) {
        if (count === 1) return 0;
        const isLast = isProven ? await this.isEnd(header.next) : await this.#endsInput(header.next);
        return isLast ? count : 0;
      }
      at = header.next;
    }
    return isProven ? count : 0;
  }

  /** Whether the input ends after END, or records of the layer around go up to its end. */
  async #endsInput(after: number): Promise<boolean> {
    for (let at = after, count = 0; at < this.#input.size && count < MOST_STATE_RECORDS; count += 1) {
      const header = await this.header(at);
      if (header === undefined || !LIBXL_KNOWN.has(header.type) || header.next > this.#input.size)
        return false;
      if (header.type === LIBXL_RECORD.END) return header.length === 0 && header.next === this.#input.size;
      at = header.next;
    }
    return after === this.#input.size;
  }

  /** Whether what follows END is the input's end or records of the layer around: zeros look like END too. */
  async isEnd(after: number): Promise<boolean> {
    if (after + recordHeader.size > this.#input.size) return true;
    const header = await this.header(after);
    if (header === undefined) return true;
    if (header.type === LIBXL_RECORD.END) return header.length === 0 && header.next === this.#input.size;
    return LIBXL_KNOWN.has(header.type) && header.next <= this.#input.size;
  }

  /** Finds places at which records in a row begin: every `step` bytes of those that are looked at. */
  finder(step: 1 | 8): Resynchronizer {
    const little = this.#order === "little";
    return new Resynchronizer(this.#input, {
      step,
      head: recordHeader.size,
      isLikely: (view, at) => {
        const type = view.getUint32(at, little);
        return (
          type !== LIBXC_RECORD.END && KNOWN.has(type) && view.getUint32(at + 4, little) <= MAX_BODY_LENGTH
        );
      },
      proof: (offset) => this.proof(offset),
    });
  }
}

/** Records that have no body. */
const EMPTY: ReadonlySet<number> = new Set([
  LIBXC_RECORD.END,
  LIBXC_RECORD.VERIFY,
  LIBXC_RECORD.CHECKPOINT,
  LIBXC_RECORD.STATIC_DATA_END,
]);
/** Bytes of a record of state: no real one has more. */
const MOST_STATE = 64 << 20;

/**
 * Bridges damage in the libxc layer of a stream whose headers are whole.
 * @param first offset of the first libxc record
 * @returns undefined where nothing is damaged, or nothing can be found after the damage
 */
export async function salvageStream(
  input: ByteSource,
  first: number,
  order: ByteOrder,
): Promise<Salvage | undefined> {
  const walk = new Walk(input, order);
  const [aligned, anywhere] = [walk.finder(ALIGNMENT), walk.finder(1)];
  const lost: LostPart[] = [];
  const patches: Patch[] = [];
  /** Bytes after the last optional record, less than another: they are left out. */
  const cuts: LostPart[] = [];
  /** The batch right before: it may have more or fewer bytes than its own. */
  let batch: { readonly at: number; readonly entries: number } | undefined;
  /** The last record that only its form speaks for: its length may be what is damaged. */
  let doubtful: number | undefined;
  for (let at = first; lost.length < MOST_PARTS; ) {
    const header = await walk.header(at);
    const trust = header === undefined ? "none" : await walk.trust(at, header);
    if (header !== undefined && trust !== "none") {
      if (header.type === LIBXC_RECORD.END && (await walk.isEnd(header.next))) break;
      if (header.type !== LIBXC_RECORD.END) {
        doubtful = trust === "proven" ? undefined : at;
        batch =
          trust === "proven" ? { at, entries: at + recordHeader.size + pageDataHeader.size } : undefined;
        at = header.next;
        continue;
      }
    }
    // a batch whose entries alone are damaged: its reader leaves them out
    const isBatch = header?.type === LIBXC_RECORD.PAGE_DATA;
    if (isBatch && header.length <= MAX_BODY_LENGTH && (await walk.proof(header.next)) > 0) {
      doubtful = undefined;
      batch = undefined;
      at = header.next;
      continue;
    }
    const from = doubtful ?? at;
    const found =
      (await aligned.resume(batch?.entries ?? from + ALIGNMENT)) ??
      (await anywhere.resume(batch?.entries ?? from + 1));
    if (found === undefined) break;
    const part = partBefore(found, from, batch?.at);
    lost.push(part);
    const covered = part.end - ((part.end - part.start) % ALIGNMENT);
    appendTo(patches, skipRecords(part.start, covered, order));
    if (covered < part.end) cuts.push({ start: covered, end: part.end, proof: part.proof });
    doubtful = undefined;
    batch = undefined;
    at = found.at;
  }
  const patched = patchedSource(input, patches);
  const source = cuts.length === 0 ? patched : withoutParts(patched, cuts);
  return lost.length === 0 ? undefined : { source, lost };
}

/** What is lost before records go on. @param from where it begins at the latest @param batch offset of the batch before */
function partBefore({ at, proof }: Resumption, from: number, batch: number | undefined): LostPart {
  if (batch === undefined) return { start: from, end: at, proof };
  return at < from
    ? { start: batch, end: at, proof, what: "a batch whose contents are not all there" }
    : { start: from, end: at, proof, doubtfulFrom: batch };
}

/** Optional records over [start, end), which is a multiple of ALIGNMENT. */
function skipRecords(start: number, end: number, order: ByteOrder): Patch[] {
  const patches: Patch[] = [];
  const most = MAX_BODY_LENGTH - (MAX_BODY_LENGTH % ALIGNMENT);
  for (let offset = start; offset < end; ) {
    const size = Math.min(end - offset, most);
    const header = { type: OPTIONAL_TYPE, bodyLength: size - recordHeader.size };
    patches.push({ offset, bytes: recordHeader.encode(header, order) });
    offset += size;
  }
  return patches;
}
