import { FormatError } from "../../../findings/errors.js";
import type { ByteSource, ByteStream } from "../../byte-source.js";
import type { Spool } from "../../spool.js";
import { isZero, wordsOf } from "../../zeros.js";
import type { Stored } from "./unpack-frames.js";
import type { UnpackStore } from "./unpacked-source.js";

const PIECE = 1 << 20;

/** Puts unpacked bytes into a spool, pieces of zeros as holes. */
export class SpoolStore implements UnpackStore {
  readonly #spool: Spool;
  readonly #name: string;
  readonly #progress: ((done: number) => void) | undefined;
  readonly #buffer = new Uint8Array(PIECE);
  readonly #words = wordsOf(this.#buffer);

  /**
   * @param name of what is unpacked
   * @param progress receives how many bytes are unpacked so far
   */
  constructor(spool: Spool, name: string, progress?: (done: number) => void) {
    this.#spool = spool;
    this.#name = name;
    this.#progress = progress;
  }

  /** Copies to `at`, in place of all that is there. */
  async store(stream: ByteStream, at: number): Promise<Stored> {
    const spool = this.#spool;
    const buffer = this.#buffer;
    let position = at;
    if (spool.size > at) await spool.truncate(at);
    let damage: FormatError | undefined;
    for (;;) {
      let filled = 0;
      try {
        while (filled < PIECE) {
          const read = stream.read(buffer.subarray(filled));
          const got = read instanceof Promise ? await read : read;
          if (got === 0) break;
          filled += got;
        }
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        damage = error;
      }
      const hole = filled === PIECE && isZero(buffer, this.#words);
      if (filled > 0 && !hole) await spool.writeAt(position, buffer.subarray(0, filled));
      position += filled;
      this.#progress?.(position);
      if (filled < PIECE) break;
    }
    await spool.truncate(position);
    return { length: position - at, damage };
  }

  source(): ByteSource {
    const spool = this.#spool;
    return { name: this.#name, size: spool.size, read: (offset, into) => spool.read(offset, into) };
  }
}
