import { FormatError, TruncatedError } from "../../findings/errors.js";
import type { Rule } from "../../findings/rule.js";

/** fflate's FlateErrorCode of input that ends early. */
const UNEXPECTED_END = 0;

interface Decoder {
  push(bytes: Uint8Array, isLast: boolean): void;
}

/** Pushes bytes into one of fflate's decoders, whose callback is `take`, and hands on what comes of each push. */
export class FflateSteps {
  readonly #rule: Rule;
  readonly #name: string;
  #pieces: Uint8Array[] = [];

  /** @param name of the compression, for messages */
  constructor(rule: Rule, name: string) {
    this.#rule = rule;
    this.#name = name;
  }

  readonly take = (piece: Uint8Array): void => {
    this.#pieces.push(piece);
  };

  /** What comes of the bytes, then the error they meet. @throws FormatError, TruncatedError where the input ends early */
  *push(decoder: Decoder, bytes: Uint8Array, isLast: boolean): Iterable<Uint8Array> {
    let failure: Error | undefined;
    try {
      decoder.push(bytes, isLast);
    } catch (error) {
      failure = error as Error;
    }
    const pieces = this.#pieces;
    this.#pieces = [];
    yield* pieces;
    if (failure === undefined) return;
    const isCut = isLast && (failure as { readonly code?: unknown }).code === UNEXPECTED_END;
    if (isCut) throw new TruncatedError(this.#rule, `${this.#name} data: it ends early`, 1);
    throw new FormatError(this.#rule, `${this.#name} data: ${failure.message}`);
  }
}
