import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import * as path from "node:path";
import { DebugInfo } from "../../../src/dwarf/info.js";
import { ElfFile } from "../../../src/elf/file.js";
import { openFile } from "../../../src/io/node/files.js";
import type { OpenedQemu, Process } from "../../../src/qemu/core/guest.js";
import { openQemuProcess } from "../../../src/qemu/core/guest.js";
import type { QemuStateOptions } from "../../../src/qemu/core/state.js";

/** Compiles the program that mimics QEMU's structures. */
export function compileMimic(folder: string, version: number, ...defines: readonly string[]): string {
  const exe = path.join(folder, `mimic-${[version, ...defines].join("-").replace(/[^\w=-]/g, "_")}`);
  const flags = [`-DQEMU=${version}`, ...defines.map((name) => `-D${name}`)];
  execFileSync("gcc", ["-g", "-O0", "-w", ...flags, "-o", exe, path.join(import.meta.dirname, "mimic.c")]);
  return exe;
}

/** Runs it until it has set its structures up. */
export async function runMimic(exe: string): Promise<{ child: ChildProcess; pid: number }> {
  const child = spawn(exe, [], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  if (child.pid === undefined) throw new Error("the program did not start");
  return { child, pid: child.pid };
}

/** Reads a process or core of the program. */
export function openMimic(
  process: Process,
  exe: string,
  options: QemuStateOptions = {},
): Promise<OpenedQemu> {
  const find = async (): Promise<{ elf: ElfFile; info: DebugInfo }> => {
    const elf = await ElfFile.open(openFile(exe));
    return { elf, info: await DebugInfo.open(elf) };
  };
  return openQemuProcess(process, find, options);
}
