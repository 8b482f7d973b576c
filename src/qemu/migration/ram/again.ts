/** Frames of one part. */
const PART = 4096;
const MOST = 255;

/** How often pages came again after their first copy: a byte a page, in parts that exist once one did. */
export class TimesAgain {
  readonly #parts = new Map<number, Uint8Array>();

  /** Counts a page that came again. */
  add(frame: number): void {
    const number = Math.floor(frame / PART);
    let part = this.#parts.get(number);
    if (part === undefined) {
      part = new Uint8Array(PART);
      this.#parts.set(number, part);
    }
    const at = frame % PART;
    part[at] = Math.min(MOST, (part[at] ?? 0) + 1);
  }

  /** 255: or more. */
  of(frame: number): number {
    return this.#parts.get(Math.floor(frame / PART))?.[frame % PART] ?? 0;
  }
}
