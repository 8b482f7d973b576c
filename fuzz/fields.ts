import type { ByteOrder, Layout } from "../src/binary/layout.js";
import { FORMATS } from "../src/open/formats.js";
import * as elfLayouts from "../src/elf/layout.js";
import * as btfLayouts from "../src/linux/btf.js";

/** A field of an input: lengths, counts and offsets are among them. */
export interface FieldPlace {
  readonly offset: number;
  readonly size: number;
}

/** A structure that a reader decoded: its bytes, and where its fields are in them. */
interface SeenStructure {
  readonly bytes: Uint8Array;
  readonly fields: readonly FieldPlace[];
}

interface AnyLayout extends Pick<Layout<never>, "size" | "fields"> {
  read: (view: DataView, at: number, order: ByteOrder) => unknown;
}

const MOST_SEEN = 4000;
const MOST_PLACES = 20_000;
/** Shorter structures are found in too many places. */
const SHORTEST = 8;

/**
 * Watches which structures readers decode: their declarations know where lengths, counts and offsets are. Call once,
 * before anything is read.
 */
export class FieldFinder {
  #seen: SeenStructure[] | undefined;

  async watch(): Promise<void> {
    const declared = (await Promise.all(FORMATS.map((format) => format.layouts()))).flat();
    const all: unknown[] = [
      ...declared.flatMap(({ layouts }) => layouts),
      ...Object.values(elfLayouts),
      ...Object.values(btfLayouts),
      // by class
      ...([32, 64] as const).flatMap((bits) => Object.values(elfLayouts.elfLayouts(bits))),
    ];
    for (const layout of new Set(all.filter(isLayout))) {
      const original = layout.read;
      layout.read = (view, at, order) => {
        this.#note(layout, view, at);
        return original(view, at, order);
      };
    }
  }

  #note({ size, fields }: AnyLayout, view: DataView, at: number): void {
    if (this.#seen === undefined || this.#seen.length >= MOST_SEEN || size < SHORTEST) return;
    if (at + size > view.byteLength) return;
    this.#seen.push({ bytes: new Uint8Array(view.buffer, view.byteOffset + at, size).slice(), fields });
  }

  /** The fields of an input that `read` reads. */
  async fieldsOf(input: Uint8Array, read: () => Promise<void>): Promise<FieldPlace[]> {
    this.#seen = [];
    await read();
    const seen = this.#seen;
    this.#seen = undefined;
    const whole = Buffer.from(input.buffer, input.byteOffset, input.length);
    const places = new Map<number, FieldPlace>();
    let from = 0;
    for (const { bytes, fields } of seen) {
      // structures mostly come in order
      let at = whole.indexOf(bytes, from);
      if (at === -1) at = whole.indexOf(bytes);
      if (at === -1 || places.size > MOST_PLACES) continue;
      from = at;
      for (const { offset, size } of fields)
        if (size <= 8) places.set(at + offset, { offset: at + offset, size });
    }
    return [...places.values()];
  }
}

function isLayout(value: unknown): value is AnyLayout {
  return typeof value === "object" && value !== null && "fields" in value && "read" in value;
}
