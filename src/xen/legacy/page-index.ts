import { hasData, TYPE } from "./layout.js";

/** pfns of one part of the index: 16 MiB of guest memory. */
const PART = 4096;
const TYPE_BITS = 0x0f;
/** The pfn has occurred. */
const KNOWN = 0x80;
/** There are contents, current or old. */
const STORED = 0x10;
/** The contents are in the spool, not in the input. */
const SPOOLED = 0x20;
/** The pfn was touched since the last complete checkpoint. */
const TOUCHED = 0x40;
/** The contents are in a slot taken since the last complete checkpoint. */
const OWN = 0x100;
const SETTLED = ~(TOUCHED | OWN);

interface Part {
  /** Number of the copy: counted along the input, or a slot of the spool. */
  readonly copies: Uint32Array;
  readonly states: Uint16Array;
}

/**
 * The last copy and type of every pfn of a stream, six bytes a pfn, in parts that exist once touched.
 * What was noted since the last `commit` can be taken back.
 */
export class PageIndex {
  readonly #parts: (Part | undefined)[] = [];
  #undoPfns = new Uint32Array(1024);
  #undoCopies = new Uint32Array(1024);
  #undoStates = new Uint16Array(1024);
  #undone = 0;
  #first = true;

  #part(pfn: number): Part {
    const index = Math.floor(pfn / PART);
    let part = this.#parts[index];
    if (part === undefined) {
      part = { copies: new Uint32Array(PART), states: new Uint16Array(PART) };
      this.#parts[index] = part;
    }
    return part;
  }

  #state(pfn: number): number {
    return this.#parts[Math.floor(pfn / PART)]?.states[pfn % PART] ?? 0;
  }

  /** Remembers a pfn as it was at the last checkpoint. */
  #touch(part: Part, pfn: number): void {
    const at = pfn % PART;
    const state = part.states[at] ?? 0;
    if ((state & TOUCHED) !== 0) return;
    if (!this.#first) {
      if (this.#undone === this.#undoPfns.length) this.#growUndo();
      this.#undoPfns[this.#undone] = pfn;
      this.#undoCopies[this.#undone] = part.copies[at] ?? 0;
      this.#undoStates[this.#undone] = state;
      this.#undone += 1;
    }
    part.states[at] = state | TOUCHED;
  }

  #growUndo(): void {
    const length = this.#undone * 2;
    const pfns = new Uint32Array(length);
    pfns.set(this.#undoPfns);
    const copies = new Uint32Array(length);
    copies.set(this.#undoCopies);
    const states = new Uint16Array(length);
    states.set(this.#undoStates);
    this.#undoPfns = pfns;
    this.#undoCopies = copies;
    this.#undoStates = states;
  }

  /** Notes the type of an entry; its contents may follow. */
  setType(pfn: number, type: number): void {
    const part = this.#part(pfn);
    const at = pfn % PART;
    const state = part.states[at] ?? 0;
    // "allocate only" never takes contents away
    if (type === TYPE.allocateOnly && (state & STORED) !== 0 && hasData(state & TYPE_BITS)) return;
    this.#touch(part, pfn);
    part.states[at] = ((part.states[at] ?? 0) & ~TYPE_BITS) | KNOWN | type;
  }

  /** Notes contents of a pfn whose type is set. */
  setCopy(pfn: number, spooled: boolean, copy: number): void {
    const part = this.#part(pfn);
    const at = pfn % PART;
    this.#touch(part, pfn);
    part.copies[at] = copy;
    part.states[at] = ((part.states[at] ?? 0) & ~(SPOOLED | OWN)) | STORED | (spooled ? SPOOLED | OWN : 0);
  }

  /** Number of the copy or slot that holds the contents of a pfn that is stored. */
  copy(pfn: number): number {
    return this.#parts[Math.floor(pfn / PART)]?.copies[pfn % PART] ?? 0;
  }

  /** Whether there are contents, also of a pfn whose type has none now. */
  isStored(pfn: number): boolean {
    return (this.#state(pfn) & STORED) !== 0;
  }

  /** Whether the contents are in the spool. */
  isSpooled(pfn: number): boolean {
    return (this.#state(pfn) & SPOOLED) !== 0;
  }

  /** Whether the contents are in a slot taken since the last checkpoint, which may be overwritten. */
  isOwnSlot(pfn: number): boolean {
    return (this.#state(pfn) & OWN) !== 0;
  }

  /** Type of a pfn; undefined: not in the stream. */
  type(pfn: number): number | undefined {
    const state = this.#state(pfn);
    return (state & KNOWN) === 0 ? undefined : state & TYPE_BITS;
  }

  /** Makes what was noted final. `free` is called with slots of the spool that nothing refers to any longer, last first. */
  commit(free: (slot: number) => void): void {
    if (this.#first) {
      for (const part of this.#parts) {
        if (part === undefined) continue;
        for (let i = 0; i < PART; i += 1) part.states[i] = (part.states[i] ?? 0) & SETTLED;
      }
      this.#first = false;
      return;
    }
    for (let i = this.#undone - 1; i >= 0; i -= 1) {
      const pfn = this.#undoPfns[i] ?? 0;
      const part = this.#part(pfn);
      const at = pfn % PART;
      const state = part.states[at] ?? 0;
      part.states[at] = state & SETTLED;
      const before = this.#undoCopies[i] ?? 0;
      const replaced = (this.#undoStates[i] ?? 0) & SPOOLED;
      if (replaced !== 0 && !((state & SPOOLED) !== 0 && part.copies[at] === before)) free(before);
    }
    this.#undone = 0;
  }

  /** Takes back what was noted since the last commit. */
  rollback(): void {
    for (let i = this.#undone - 1; i >= 0; i -= 1) {
      const pfn = this.#undoPfns[i] ?? 0;
      const part = this.#part(pfn);
      part.copies[pfn % PART] = this.#undoCopies[i] ?? 0;
      part.states[pfn % PART] = this.#undoStates[i] ?? 0;
    }
    this.#undone = 0;
  }

  /** The first pfn of the stream at or above `pfn`; undefined: there is none. */
  next(pfn: number): number | undefined {
    let index = Math.floor(pfn / PART);
    let at = pfn % PART;
    for (; index < this.#parts.length; index += 1, at = 0) {
      const states = this.#parts[index]?.states;
      if (states === undefined) continue;
      for (; at < PART; at += 1) {
        if (((states[at] ?? 0) & KNOWN) !== 0) return index * PART + at;
      }
    }
    return undefined;
  }
}
