import { FormatError } from "../../findings/errors.js";
import type { ByteSource, ByteStream } from "../byte-source.js";
import type { Stored } from "../codecs/frames/unpack-frames.js";
import type { UnpackStore } from "../codecs/frames/unpacked-source.js";
import { isZero, wordsOf } from "../zeros.js";

const PIECE = 4 << 20;

/** Streams as one Blob, to be read at any offset: browsers keep large ones on disk. Pieces of zeros share one. */
export class GatheredBlob implements UnpackStore {
  readonly #sourceOf: (blob: Blob) => ByteSource;
  readonly #zeros = new Blob([new Uint8Array(PIECE)]);
  readonly #parts: Blob[] = [];
  /** Bytes of the parts. */
  #size = 0;
  /** What follows them. */
  readonly #buffer = new Uint8Array(PIECE);
  readonly #words = wordsOf(this.#buffer);
  #fill = 0;

  /** @param sourceOf reads the Blob */
  constructor(sourceOf: (blob: Blob) => ByteSource) {
    this.#sourceOf = sourceOf;
  }

  /** Takes a stream in, in place of all that is held from an offset on; what it throws as damaged ends it. */
  async store(stream: ByteStream, at: number): Promise<Stored> {
    this.#truncate(at);
    try {
      for (;;) {
        const read = stream.read(this.#buffer.subarray(this.#fill));
        const n = read instanceof Promise ? await read : read;
        if (n === 0) return { length: this.#end - at, damage: undefined };
        this.#fill += n;
        if (this.#fill === PIECE) this.#flush();
      }
    } catch (damage) {
      if (!(damage instanceof FormatError)) throw damage;
      return { length: this.#end - at, damage };
    }
  }

  /** All that is held. */
  source(): ByteSource {
    this.#flush();
    return this.#sourceOf(new Blob(this.#parts));
  }

  get #end(): number {
    return this.#size + this.#fill;
  }

  #flush(): void {
    if (this.#fill === 0) return;
    const isHole = this.#fill === PIECE && isZero(this.#buffer, this.#words);
    this.#parts.push(isHole ? this.#zeros : new Blob([this.#buffer.slice(0, this.#fill)]));
    this.#size += this.#fill;
    this.#fill = 0;
  }

  #truncate(size: number): void {
    this.#fill = Math.max(0, Math.min(this.#fill, size - this.#size));
    while (this.#size > size) {
      const last = this.#parts.pop();
      if (last === undefined) return;
      this.#size -= last.size;
      if (this.#size >= size) continue;
      this.#parts.push(last.slice(0, size - this.#size));
      this.#size = size;
    }
  }
}
