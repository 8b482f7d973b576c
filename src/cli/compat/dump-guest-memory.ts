#!/usr/bin/env node
import { QEMU_CORE_RULES } from "../../qemu/core/rules.js";
import { I386 } from "../../guest/arch/x86.js";
import type { MemoryRange } from "../../guest/memory.js";
import { AbsentError, UsageError } from "../../findings/errors.js";
import { nodeDebugFiles } from "../../io/node/debug-files.js";
import { openRandomAccess } from "../../io/node/decompress.js";
import { openFile, openInput } from "../../io/node/files.js";
import { openOutput } from "../../io/node/output.js";
import { joinRanges } from "../../qemu/core/flat-view.js";
import { openState } from "../../qemu/core/open.js";
import { openCore, type OpenedQemu } from "../../qemu/core/guest.js";
import { deviceNote } from "../../qemu/core/vmcoreinfo.js";
import { VERSION } from "../../version.js";
import { layOutElf, writeElf } from "../../vmcore/elf/write.js";
import { EMPTY_NOTE } from "../../vmcore/notes.js";
import { parseBackings } from "../backing.js";
import { EXIT, runProgram } from "../command.js";
import { missingLines } from "../present/memory.js";
import { print, printError } from "../terminal.js";
import { helpText, type OptionSpec, parseOptions } from "./options.js";

const PROGRAM = "dump-guest-memory";
const USAGE = `${PROGRAM} [options] CORE FILE [ARCH]`;
const DESCRIPTION = `Extracts the guest vmcore FILE from CORE, the core of a qemu process, as QEMU's gdb command of
this name does, byte for byte. ARCH: X86_64, 386, aarch64-be, aarch64-le, s390, ppc64-be, ppc64-le
(default: what the program emulates). Where guest memory is not in the core nothing is written; 'guestscope extract'
can do more.`;

const OPTIONS: readonly OptionSpec[] = [
  { long: "help", short: "h", help: "show this help message and exit" },
  { long: "version", help: "show program's version number and exit" },
  { long: "exe", metavar: "FILE", help: "the qemu program" },
  { long: "debug-file", metavar: "FILE", help: "its separate debug file" },
  { long: "debug-dir", metavar: "DIRECTORY", help: "root of a tree of debug files" },
  {
    long: "backing",
    metavar: "ID=FILE",
    help: "file of a memory backend that the core lacks; may be given again",
  },
];

async function main(argv: readonly string[]): Promise<number> {
  const { values, lists, switches, operands } = parseOptions(OPTIONS, argv);
  if (switches.has("help")) {
    print(helpText(USAGE, DESCRIPTION, OPTIONS));
    return EXIT.good;
  }
  if (switches.has("version")) {
    print(VERSION);
    return EXIT.good;
  }
  const [core, file, arch, ...more] = operands;
  if (core === undefined || file === undefined || more.length > 0) throw new UsageError(`usage: ${USAGE}`);
  const access = await openRandomAccess(openInput(core));
  try {
    const [exe, debugFile, debugDir] = ["exe", "debug-file", "debug-dir"].map((name) => values.get(name));
    const backing = parseBackings(lists.get("backing"));
    const state = await openState(await openCore(access.source), {
      openFile: async (name) => openFile(name),
      qemu: {
        debugFiles: nodeDebugFiles(),
        exe,
        debugFile,
        debugDirs: debugDir === undefined ? undefined : [debugDir],
        backing,
        arch,
        keepUnplugged: true,
      },
    });
    return await dump(state, file);
  } finally {
    access.close();
  }
}

/** The two tables and the file of QEMU's gdb command. */
async function dump(state: OpenedQemu, file: string): Promise<number> {
  const { arch, memory, program } = state;
  for (const warning of state.warnings) printError(`${PROGRAM}: warning: ${warning}`);
  const address = (value: number): string => value.toString(16).padStart(16, "0");
  print("guest RAM blocks:");
  print("target_start     target_end       host_addr        message count");
  print("---------------- ---------------- ---------------- ------- -----");
  const blocks = joinRanges(state.selected, (range, joined, count) => {
    const { start, size, ram } = range;
    const fields = [start, start + size, ram?.host ?? 0].map(address);
    print(`${fields.join(" ")} ${(joined ? "joined" : "added").padEnd(7)} ${String(count).padStart(5)}`);
  });
  const missing = [...memory.ranges()].filter(({ presence }) => presence === "absent");
  if (missing.length > 0) throw missingError(missing, [...memory.ranges()], program.memory.name);
  const note = await deviceNote(program, memory, arch, (text) => printError(`${PROGRAM}: warning: ${text}`));
  const plan = layOutElf({
    arch,
    bits: arch === I386 ? 32 : 64,
    notes: [...(note === undefined ? [] : [note]), EMPTY_NOTE],
    runs: blocks,
    aliases: [],
    alignment: 1,
    flags: 0,
  });
  const sink = openOutput(file, { force: true });
  try {
    for (const { start, end, host } of blocks) {
      print(`dumping range at ${address(host)} for length ${address(end - start)}`);
    }
    await writeElf(memory, plan, sink, {});
    sink.commit();
  } catch (error) {
    sink.abandon();
    throw error;
  }
  return EXIT.good;
}

function missingError(missing: readonly MemoryRange[], all: readonly MemoryRange[], source: string): Error {
  const whole = all.reduce((sum, { start, end }) => sum + end - start, 0);
  const lines = missingLines(missing, whole).map((line) => `\n  ${line}`);
  return new AbsentError(QEMU_CORE_RULES.missing, `guest memory is not in the core:${lines.join("")}`, {
    source,
  });
}

/** Runs the program by the process's arguments, and sets its exit status. */
export const run = (): Promise<void> => runProgram(() => main(process.argv.slice(2)));
