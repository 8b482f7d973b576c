import { appendTo } from "../binary/arrays.js";
import type { ArgumentParser, Namespace } from "argparse";
import { GuestscopeError } from "../findings/errors.js";
import {
  compareAreas,
  compareFacts,
  compareMemory,
  compareRegisters,
  type Run,
  type ValueDifference,
} from "../guest/compare.js";
import type { GuestImage } from "../guest/image.js";
import { withVmcoreInfo } from "../guest/kernel/brought-vmcoreinfo.js";
import { type SearchedGuest, searchedWhileRead } from "../guest/kernel/searched-memory.js";
import { compareLinux, type LinuxState, linuxState } from "../linux/compare.js";
import { type Command, runAnswering } from "./command.js";
import { compareDevices, type DeviceValues, deviceValues } from "./device-values.js";
import type { DiffDocument, Differences } from "./guest-documents.js";
import { addGuestOptions, inspectInput, withGuest } from "./guest-input.js";
import { type KernelArguments, openKernelOf, printable } from "./kernel-input.js";
import { percent } from "./present/memory.js";
import { Progress } from "./progress.js";
import { hex, print, printError, printJson, size } from "./terminal.js";

/** An inspection without what the guest was running. */
const DEVICES_ALONE = { findKernel: false, describeSystem: async () => undefined } as const;

interface Arguments extends Omit<KernelArguments, "input"> {
  readonly first: string;
  readonly second: string;
  readonly pages: boolean;
}

/** As diff's; trouble is EXIT.failure. */
const SAME = 0;
const DIFFERENT = 1;
/** Lines of one kind that are printed without `--verbose`. */
const FEW = 40;

/** A guest whose kernel is looked for while its memory is compared, if it isn't known; afterwards nothing is left to look for. */
async function searchedOnTheWay(guest: GuestImage): Promise<SearchedGuest> {
  const { vmcoreInfo, archIsGuess } = guest.facts;
  const isKnown = vmcoreInfo !== undefined || archIsGuess === true;
  const unsought = isKnown ? guest : await withVmcoreInfo(guest, "later");
  if (unsought.isKernelUnsought !== true) return { guest, end: () => Promise.resolve(guest) };
  const search = searchedWhileRead(unsought);
  const end = async (): Promise<GuestImage> => {
    const found = await search.end();
    return { ...found, facts: { ...found.facts, vmcoreInfoIsChosen: true } };
  };
  return { guest: search.guest, end };
}

/** What Linux was doing in a guest; undefined where there is no kernel that can be read. */
async function linuxOf(guest: GuestImage, args: Namespace): Promise<LinuxState | undefined> {
  try {
    return await linuxState(await openKernelOf(guest, args));
  } catch (error) {
    if (!(error instanceof GuestscopeError)) throw error;
    return undefined;
  }
}

async function compare(first: GuestImage, second: GuestImage, args: Namespace): Promise<Differences> {
  const { first: one, second: other, quiet } = args as Arguments;
  const notCompared: string[] = [];
  const progress = new Progress(!quiet);
  const total = [...first.memory.ranges()].at(-1)?.end;
  const searched = [await searchedOnTheWay(first), await searchedOnTheWay(second)] as const;
  const memory = await compareMemory(searched[0].guest.memory, searched[1].guest.memory, (at) =>
    progress.update(at, total, "comparing"),
  ).finally(() => progress.done());
  // where all memory is alike, so is what Linux keeps in it
  const isAlike = memory.changedPages + memory.onlyFirst.length + memory.onlySecond.length === 0;
  const firstLinux = isAlike ? undefined : await linuxOf(await searched[0].end(), args);
  const secondLinux = firstLinux && (await linuxOf(await searched[1].end(), args));
  const linux = firstLinux && secondLinux && compareLinux(firstLinux, secondLinux);
  if (isAlike) notCompared.length = 0;
  else if (linux === undefined) notCompared.push("Linux: no kernel that can be read in both");
  else appendTo(notCompared, linux.notCompared);
  // only a stream of QEMU holds its devices: reading another input once more would find none
  const hasDevices = [first, second].every(({ facts }) => facts.specific?.kind === "qemu-stream");
  const inspected = async (name: string): Promise<DeviceValues | undefined> =>
    hasDevices ? deviceValues(await inspectInput(name, args, DEVICES_ALONE)) : undefined;
  const devices = [await inspected(one), await inspected(other)] as const;
  if (devices[0] === undefined || devices[1] === undefined)
    notCompared.push("QEMU's devices: not both inputs hold their state");
  return {
    facts: compareFacts(first, second),
    memory,
    registers: compareRegisters(first, second),
    devices: [
      ...compareAreas(first, second),
      ...(devices[0] === undefined || devices[1] === undefined ? [] : compareDevices(devices[0], devices[1])),
    ],
    linux,
    notCompared,
  };
}

function isSame({ facts, memory, registers, devices, linux }: Differences): boolean {
  const { changedPages, onlyFirst, onlySecond } = memory;
  const lists = [facts, onlyFirst, onlySecond, registers, devices];
  if (linux !== undefined)
    lists.push(
      linux.tasksBegun as never[],
      linux.tasksEnded as never[],
      linux.modulesLoaded as never[],
      linux.modulesRemoved as never[],
      linux.logNew as never[],
    );
  return changedPages === 0 && lists.every(({ length }) => length === 0);
}

function list(title: string, lines: readonly string[], verbose: boolean): void {
  if (lines.length === 0) return;
  print(`${title}:`);
  for (const line of verbose ? lines : lines.slice(0, FEW)) print(`  ${line}`);
  if (!verbose && lines.length > FEW) print(`  and ${lines.length - FEW} more; --verbose lists them`);
}

const SHORT = 40;
const short = (value: string | undefined): string =>
  value === undefined ? "-" : printable(value.length > SHORT ? `${value.slice(0, SHORT)}…` : value);
const valueLine = ({ name, first, second }: ValueDifference): string =>
  `${printable(name)}: ${short(first)} -> ${short(second)}`;
const runLine = ({ start, end }: Run): string => `${hex(start)}-${hex(end)} ${size(end - start)}`;

function* pagesOf(runs: readonly Run[]): Generator<string> {
  for (const { start, end } of runs) for (let page = start; page < end; page += 4096) yield hex(page);
}

function show(differences: Differences, { pages, verbose }: Arguments): void {
  const { facts, memory, registers, devices, linux } = differences;
  const { compared, changedPages, changed, onlyFirst, onlySecond } = memory;
  list("facts", facts.map(valueLine), verbose);
  print(
    `memory: ${size(compared)} compared, ${changedPages} pages differ (${percent(changedPages * 4096, compared)})`,
  );
  if (pages) for (const page of pagesOf(changed)) print(`  ${page}`);
  else list("  runs that differ", changed.map(runLine), verbose);
  list("  only in the first", onlyFirst.map(runLine), verbose);
  list("  only in the second", onlySecond.map(runLine), verbose);
  list("registers", registers.map(valueLine), verbose);
  list("devices", devices.map(valueLine), verbose);
  if (linux === undefined) return;
  const task = ({ pid, comm }: { pid: number; comm: string }): string => `${pid} ${printable(comm)}`;
  list("tasks begun", linux.tasksBegun.map(task), verbose);
  list("tasks ended", linux.tasksEnded.map(task), verbose);
  list("modules loaded", linux.modulesLoaded.map(printable), verbose);
  list("modules removed", linux.modulesRemoved.map(printable), verbose);
  list("mounted", linux.mountsAdded.map(printable), verbose);
  list("unmounted", linux.mountsRemoved.map(printable), verbose);
  list("new in the kernel log", linux.logNew.map(printable), verbose);
}

/** `guestscope diff`. */
export const command: Command = {
  name: "diff",
  summary: "compare two saved states: memory, registers, devices, what Linux was doing",
  examples: [
    "guestscope diff monday.save tuesday.save",
    "guestscope diff core.4711 web01.save --pages",
    "guestscope diff --json legacy.save converted.save | jq .memory.changedPages",
  ],
  configure(parser: ArgumentParser): void {
    parser.add_argument("first", { metavar: "A", help: "a file, or pid:N for a running QEMU" });
    parser.add_argument("second", { metavar: "B", help: "what it is compared with" });
    parser.add_argument("--pages", { action: "store_true", help: "list every page that differs, not runs" });
    addGuestOptions(parser);
    parser.add_argument("--vmlinux", {
      metavar: "FILE",
      help: "the kernel's file, for kernels whose memory lacks symbols or types",
    });
  },
  async run(args: Namespace): Promise<number> {
    const options = args as Arguments;
    const { first, second, json, quiet } = options;
    // the kernel is looked for while memory is compared: to open need not read all of it
    const rest = { partial: true, findKernel: false };
    return runAnswering(async () =>
      withGuest(first, args, rest, async (one) =>
        withGuest(second, args, rest, async (other) => {
          for (const guest of [one, other])
            if (!quiet && !json)
              for (const warning of guest.warnings)
                printError(`guestscope: warning: ${guest.facts.source}: ${warning}`);
          const differences = await compare(one, other, args);
          const status = isSame(differences) ? SAME : DIFFERENT;
          if (json)
            printJson({
              schemaVersion: 1,
              kind: "diff",
              first: { source: first, origin: one.facts.origin },
              second: { source: second, origin: other.facts.origin },
              same: status === SAME,
              ...differences,
            } satisfies DiffDocument);
          else if (!quiet) {
            if (status === DIFFERENT) show(differences, options);
            for (const what of differences.notCompared) printError(`guestscope: not compared: ${what}`);
          }
          return status;
        }),
      ),
    );
  },
};
