import { once } from "node:events";
import * as fs from "node:fs";
import * as net from "node:net";
import * as readline from "node:readline";
import type { Readable, Writable } from "node:stream";
import { expect } from "vitest";

/** The monitor of a QEMU under test, by QMP: one command at a time. */
export class Qmp {
  readonly #lines: AsyncIterator<string>;
  readonly #output: Writable;

  private constructor(input: Readable, output: Writable) {
    this.#lines = readline.createInterface({ input })[Symbol.asyncIterator]();
    this.#output = output;
  }

  /** Speaks to a QEMU over a pair of streams: a socket, its standard input and output. */
  static async over(input: Readable, output: Writable): Promise<Qmp> {
    const qmp = new Qmp(input, output);
    await qmp.execute("qmp_capabilities");
    return qmp;
  }

  /** Connects to the socket of a QEMU that was just started. @param timeout milliseconds until it is there, at most */
  static async connect(socketPath: string, timeout: number): Promise<Qmp> {
    await expect.poll(() => fs.existsSync(socketPath), { timeout }).toBe(true);
    const socket = net.connect(socketPath);
    await once(socket, "connect");
    return Qmp.over(socket, socket);
  }

  /** What a command returns; greetings and events before it are passed over. */
  async execute(command: string, args: object = {}): Promise<unknown> {
    this.#output.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done === true) throw new Error(`${command}: QEMU is gone`);
      const reply = JSON.parse(value) as { return?: unknown; error?: { desc: string } };
      if (reply.error !== undefined) throw new Error(`${command}: ${reply.error.desc}`);
      if ("return" in reply) return reply.return;
    }
  }

  close(): void {
    this.#output.destroy();
  }
}
