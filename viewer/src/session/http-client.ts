import type { Method, Methods, Reply } from "../../../src/open/session/protocol.js";
import { decodeWire, encodeWire } from "../../../src/open/session/wire.js";
import { type CallOptions, type Client, Pending } from "./client.js";

/** A session in the process that serves this page: its answers are lines of JSON. */
export class HttpClient implements Client {
  readonly #url: string;
  readonly #pending = new Pending();
  readonly #abort = new AbortController();

  /** @param url of the input's calls, with the token */
  constructor(url: string) {
    this.#url = url;
  }

  call<M extends Method>(
    method: M,
    argument: Methods[M]["argument"],
    options: CallOptions = {},
  ): Promise<Methods[M]["result"]> {
    const { id, result } = this.#pending.begin(options);
    this.#send(encodeWire({ id, method, argument })).then(
      () => this.#lost(id),
      () => this.#lost(id),
    );
    return result as Promise<Methods[M]["result"]>;
  }

  close(): void {
    this.#abort.abort();
  }

  /** Ends a call that got no answer; one that did is no longer waited for. */
  #lost(id: number): void {
    const message = "the server ended or can't be reached";
    this.#pending.reply({
      id,
      kind: "error",
      problem: { severity: "error", code: "viewer/server-lost", message },
    });
  }

  async #send(body: string): Promise<void> {
    const response = await fetch(this.#url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: this.#abort.signal,
    });
    if (response.body === null || !response.ok) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = `${rest}${value}`.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#pending.reply(decodeWire(line) as Reply);
    }
  }
}
