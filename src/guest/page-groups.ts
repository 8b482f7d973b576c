import { FormatError } from "../findings/errors.js";
import type { OpenSpill } from "../io/spill.js";
import {
  asTable,
  bytesOf,
  type Chunk,
  CHUNK,
  isTable,
  type Runs,
  type Table,
  TablePool,
  withRun,
} from "./page-chunk.js";
import { codeAt, decodeChunks, encodeChunks, putCode, wordsOfChunks } from "./chunk-words.js";
import { NOWHERE } from "./page-codes.js";
import { GUEST_RULES } from "./rules.js";
import { NO_SEGMENT, SpillLog } from "./spill-log.js";

/** Chunks of one group: what goes to the file and comes back together. */
export const GROUP = 16;
/** Bytes of chunks that are kept in memory, where there is a file for the others. */
const RESIDENT = 32 << 20;
/** Memory for changes to groups that are in the file, in all; of one group at least and at most so many words. */
const PENDING = 16 << 20;
const LEAST_PENDING = 48;
const MOST_PENDING = 1536;

/** Chunks of one guest: 16 TiB of 4 KiB pages, wherever they lie. A hostile input can't have more. */
const MOST_CHUNKS = 1 << 20;

/** Kinds of segments: changes, or all that there is of a group. */
const CHANGES = 0;
const SNAPSHOT = 1;
/** Words of a change: page and count, the code's two halves. */
const CHANGE = 3;

/** How an index spills. */
export interface SpillOptions {
  /** Opens the file, when it is needed. */
  readonly open: OpenSpill;
  /** Bytes of chunks that are kept in memory. */
  readonly resident?: number | undefined;
}

interface Group {
  readonly number: number;
  /** A bit a chunk that exists. */
  existing: number;
  /** Undefined: in the file. */
  chunks: (Chunk | undefined)[] | undefined;
  /** Of the chunks in memory, about. */
  bytes: number;
  /** When it was last asked for. */
  used: number;
  /** The last of its segments. */
  chain: number;
  /** The segments are not what is in memory. */
  isDirty: boolean;
  /** Changes that came since it went to the file. */
  pending: Uint32Array | undefined;
  filled: number;
}

/**
 * The chunks of an index by their numbers. Where there is a scratch file, those that were not asked for lately are in
 * it once they take too much memory: what is then set is appended to their changes, and what is asked for comes back.
 */
export class PageGroups {
  readonly #pageSize: number;
  readonly #groups = new Map<number, Group>();
  readonly #log: SpillLog | undefined;
  readonly #most: number;
  #numbers: number[] | undefined;
  #bytes = 0;
  #clock = 0;
  #count = 0;
  #last: Group | undefined;
  #scratch = new Uint32Array(0);
  /** Tables of groups that went to the file: to be used again, as their memory would be free only some time later. */
  readonly #tables = new TablePool();
  /** How often a group went to the file: a chunk that somebody holds may then be another's. */
  evictions = 0;

  constructor(pageSize: number, spill: SpillOptions | undefined) {
    this.#pageSize = pageSize;
    this.#log = spill && new SpillLog(spill.open);
    this.#most = spill?.resident ?? RESIDENT;
  }

  #group(key: number): Group | undefined {
    const number = Math.floor(key / GROUP);
    if (this.#last?.number === number) return this.#last;
    const group = this.#groups.get(number);
    if (group === undefined) return undefined;
    group.used = this.#clock += 1;
    this.#last = group;
    return group;
  }

  /** Runs as a table. */
  tableOf(runs: Runs): Table {
    return asTable(runs, this.#pageSize, this.#tables);
  }

  /** The chunk after a change; see `withRun`. */
  changedChunk(
    chunk: Chunk | undefined,
    from: number,
    to: number,
    code: number,
    mostRuns: number,
  ): Chunk | undefined {
    return withRun(chunk, from, to, code, this.#pageSize, mostRuns, this.#tables);
  }

  /** Whether a chunk exists; it may be in the file. */
  has(key: number): boolean {
    const group = this.#group(key);
    return group !== undefined && (group.existing & (1 << (key % GROUP))) !== 0;
  }

  /** The chunk of a number. */
  get(key: number): Chunk | undefined {
    const group = this.#group(key);
    if (group === undefined) return undefined;
    return (group.chunks ?? this.#load(group))[key % GROUP];
  }

  /** Notes that a chunk exists. */
  #note(group: Group, key: number): void {
    const bit = 1 << (key % GROUP);
    if ((group.existing & bit) !== 0) return;
    if (this.#count >= MOST_CHUNKS)
      throw new FormatError(GUEST_RULES.tooScattered, "guest memory is scattered beyond any real machine");
    this.#count += 1;
    group.existing |= bit;
  }

  /** Puts a chunk in place of what there was. @throws FormatError when there are too many */
  put(key: number, chunk: Chunk): void {
    const group = this.#group(key) ?? this.#create(key);
    const chunks = group.chunks ?? this.#load(group);
    this.#note(group, key);
    chunks[key % GROUP] = chunk;
    group.isDirty = true;
    this.#recount(group, chunks);
  }

  /** Tells that a chunk's contents were changed in place, and by how many bytes it grew. */
  changed(key: number, grown: number): void {
    const group = this.#group(key);
    if (group === undefined) return;
    group.isDirty = true;
    group.bytes += grown;
    this.#bytes += grown;
    if (grown > 0) this.#fit(group);
  }

  /**
   * Notes that pages [from, to) of a chunk get the codes that continue `code`, where the chunk's group is in the file.
   * False: it is in memory, and nothing was done.
   */
  defer(key: number, from: number, to: number, code: number): boolean {
    const group = this.#group(key);
    if (group === undefined || group.chunks !== undefined || this.#log === undefined) return false;
    if (code === NOWHERE && (group.existing & (1 << (key % GROUP))) === 0) return true;
    this.#note(group, key);
    const pending = (group.pending ??= new Uint32Array(this.#pendingWords()));
    pending[group.filled] = (key % GROUP) * CHUNK + from + (to - from - 1) * (GROUP * CHUNK);
    putCode(pending, group.filled + 1, code);
    group.filled += CHANGE;
    if (group.filled === pending.length) {
      group.chain = this.#log.add(group.chain, CHANGES, pending);
      group.filled = 0;
    }
    return true;
  }

  #pendingWords(): number {
    const words = PENDING / 4 / this.#groups.size;
    const most = Math.max(LEAST_PENDING, Math.min(MOST_PENDING, words));
    return most - (most % CHANGE);
  }

  #create(key: number): Group {
    const group: Group = {
      number: Math.floor(key / GROUP),
      existing: 0,
      chunks: Array.from({ length: GROUP }, () => undefined),
      bytes: 0,
      used: (this.#clock += 1),
      chain: NO_SEGMENT,
      isDirty: true,
      pending: undefined,
      filled: 0,
    };
    this.#groups.set(group.number, group);
    this.#numbers = undefined;
    this.#last = group;
    return group;
  }

  #recount(group: Group, chunks: readonly (Chunk | undefined)[]): void {
    let bytes = 0;
    for (const chunk of chunks) if (chunk !== undefined) bytes += bytesOf(chunk);
    this.#bytes += bytes - group.bytes;
    group.bytes = bytes;
    this.#fit(group);
  }

  /** Sends groups to the file until the others, `keep` among them, fit. */
  #fit(keep: Group): void {
    if (this.#bytes <= this.#most || this.#log === undefined) return;
    const resident = Array.from(this.#groups.values()).filter(
      (group) => group.chunks !== undefined && group !== keep,
    );
    resident.sort((a, b) => a.used - b.used);
    for (const group of resident) {
      // some more, so that this is seldom
      if (this.#bytes <= this.#most * 0.75) return;
      this.#evict(group, this.#log);
    }
  }

  #evict(group: Group, log: SpillLog): void {
    if (group.chunks === undefined) return;
    if (group.isDirty) group.chain = log.add(NO_SEGMENT, SNAPSHOT, this.#encode(group.chunks));
    group.isDirty = false;
    for (const chunk of group.chunks) if (chunk !== undefined && isTable(chunk)) this.#tables.give(chunk);
    group.chunks = undefined;
    this.evictions += 1;
    this.#bytes -= group.bytes;
    group.bytes = 0;
  }

  /** Chunks as words, in memory that is used again. */
  #encode(chunks: readonly (Chunk | undefined)[]): Uint32Array {
    const size = wordsOfChunks(chunks);
    if (this.#scratch.length < size) this.#scratch = new Uint32Array(size);
    const words = this.#scratch.subarray(0, size);
    encodeChunks(chunks, words);
    return words;
  }

  /** Brings a group back: its last snapshot, then the changes in their order. */
  #load(group: Group): (Chunk | undefined)[] {
    const chunks: (Chunk | undefined)[] = Array.from({ length: GROUP }, () => undefined);
    const places: number[] = [];
    if (this.#log !== undefined)
      for (let place = group.chain; place !== NO_SEGMENT; place = this.#log.before(place)) places.push(place);
    for (let i = places.length - 1; i >= 0; i -= 1) {
      const segment = this.#log?.read(places[i] ?? 0);
      if (segment === undefined) continue;
      if (segment.kind === SNAPSHOT) decodeChunks(segment.words, chunks, this.#tables);
      else this.#apply(segment.words, segment.words.length, chunks);
    }
    group.isDirty = places.length > 1 || group.filled > 0;
    if (group.pending !== undefined) this.#apply(group.pending, group.filled, chunks);
    group.pending = undefined;
    group.filled = 0;
    group.chunks = chunks;
    this.#recount(group, chunks);
    return chunks;
  }

  #apply(words: Uint32Array, length: number, chunks: (Chunk | undefined)[]): void {
    for (let i = 0; i < length; i += CHANGE) {
      const where = words[i] ?? 0;
      const page = where % (GROUP * CHUNK);
      const from = page % CHUNK;
      const to = from + Math.floor(where / (GROUP * CHUNK)) + 1;
      const code = codeAt(words, i + 1);
      const index = Math.floor(page / CHUNK);
      chunks[index] = withRun(chunks[index], from, to, code, this.#pageSize, SPILLED_RUNS, this.#tables);
    }
  }

  /** Numbers of the groups that there are now, ascending. */
  numbers(): readonly number[] {
    return (this.#numbers ??= Array.from(this.#groups.keys()).sort((a, b) => a - b));
  }
}

/** Runs of a chunk that comes back before it is a table. */
const SPILLED_RUNS = 8;
