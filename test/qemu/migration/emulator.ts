import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import * as path from "node:path";
import { Qmp } from "../qmp.js";

/** A QEMU under test, spoken to by QMP on its standard streams. Its guest runs under TCG: any host will do. */
export class Emulator {
  readonly #process: ChildProcess;
  readonly #qmp: Qmp;

  private constructor(process: ChildProcess, qmp: Qmp) {
    this.#process = process;
    this.#qmp = qmp;
  }

  static async start(program: string, args: readonly string[]): Promise<Emulator> {
    const common = ["-accel", "tcg", "-display", "none", "-nodefaults", "-qmp", "stdio"];
    const child = spawn(program, [...common, ...args], { stdio: ["pipe", "pipe", "inherit"] });
    return new Emulator(child, await Qmp.over(child.stdout, child.stdin));
  }

  execute(command: string, args: object = {}): Promise<unknown> {
    return this.#qmp.execute(command, args);
  }

  async monitor(line: string): Promise<string> {
    return (await this.execute("human-monitor-command", { "command-line": line })) as string;
  }

  /** Lets the guest run until its memory map shows `what`. */
  async runUntilMapped(what: string): Promise<void> {
    const end = Date.now() + 30_000;
    await this.execute("cont");
    while (!(await this.monitor("info mtree -f")).includes(what)) {
      if (Date.now() > end) throw new Error(`${what} was never mapped`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Stops the guest, migrates it to a file and dumps its memory as ELF. */
  async save(folder: string): Promise<{ stream: string; dump: string }> {
    const stream = path.join(folder, "guest.qevm");
    const dump = path.join(folder, "guest.ref");
    for (const file of [stream, dump]) fs.rmSync(file, { force: true });
    await this.execute("stop");
    await this.execute("migrate", { uri: `exec:cat > '${stream}'` });
    for (;;) {
      const { status } = (await this.execute("query-migrate")) as { status: string };
      if (status === "completed") break;
      if (status === "failed") throw new Error("the migration failed");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await this.execute("dump-guest-memory", { paging: false, protocol: `file:${dump}` });
    return { stream, dump };
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    this.#process.kill("SIGKILL");
    await once(this.#process, "exit");
  }
}

/** Loadable segments of an ELF core: guest-physical address and contents. */
export function elfSegments(file: string): { gpa: number; bytes: Buffer }[] {
  const core = fs.readFileSync(file);
  const wide = core[4] === 2;
  const little = core[5] === 1;
  const u16 = (at: number): number => (little ? core.readUInt16LE(at) : core.readUInt16BE(at));
  const u32 = (at: number): number => (little ? core.readUInt32LE(at) : core.readUInt32BE(at));
  const word = (at: number): number => {
    if (!wide) return u32(at);
    return Number(little ? core.readBigUInt64LE(at) : core.readBigUInt64BE(at));
  };
  const size = wide ? { headers: 32, entry: 54, word: 8 } : { headers: 28, entry: 42, word: 4 };
  const found: { gpa: number; bytes: Buffer }[] = [];
  for (let i = 0; i < u16(size.entry + 2); i += 1) {
    const at = word(size.headers) + i * u16(size.entry);
    if (u32(at) !== 1) continue;
    // after the type: flags (64 bits only), offset, virtual and physical address, size in the file
    const first = at + (wide ? 8 : 4);
    const offset = word(first);
    found.push({
      gpa: word(first + 2 * size.word),
      bytes: core.subarray(offset, offset + word(first + 3 * size.word)),
    });
  }
  return found;
}
