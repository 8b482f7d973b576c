import type { ByteSink } from "../../io/byte-sink.js";

/** Characters that are gathered before they are written. */
const CHUNK = 1 << 18;

/** Text on its way to a sink, in UTF-8 and in large pieces. */
export class TextOutput {
  readonly #sink: ByteSink;
  readonly #encoder = new TextEncoder();
  #text = "";

  constructor(sink: ByteSink) {
    this.#sink = sink;
  }

  /** Adds text; call `drain` now and then. */
  add(text: string): void {
    this.#text += text;
  }

  /** Writes what was gathered, if it is much. */
  async drain(): Promise<void> {
    if (this.#text.length >= CHUNK) await this.flush();
  }

  /** Writes all that was gathered. */
  async flush(): Promise<void> {
    const bytes = this.#encoder.encode(this.#text);
    this.#text = "";
    await this.#sink.write(bytes);
  }
}
