import { AbsentError } from "../findings/errors.js";
import { readPanicMessage } from "../linux/panic.js";
import { isoDate } from "../linux/summary.js";
import { type LinuxSystem, systemOf } from "../linux/system.js";
import { useModuleSymbols } from "../linux/modules.js";
import { type Command, EXIT } from "./command.js";
import type { LinuxSystemDocument } from "./guest-documents.js";
import { addKernelOptions, type KernelArguments, printable, withKernel } from "./kernel-input.js";
import { print, printJson, size } from "./terminal.js";

const SECOND = 1e9;

/** A number of nanoseconds as `3 days 04:05:06`. */
function duration(nanoseconds: number): string {
  const all = Math.max(0, Math.floor(nanoseconds / SECOND));
  const days = Math.floor(all / 86_400);
  const clock = [Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60, all % 60]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
  return days === 0 ? clock : `${days} ${days === 1 ? "day" : "days"} ${clock}`;
}

function times({ clock }: LinuxSystem): {
  readonly savedAt?: string;
  readonly bootTime?: string;
  readonly uptime?: number;
} {
  if (clock === undefined) return {};
  const savedAt = isoDate(clock.wall);
  const bootTime = isoDate(clock.wall - clock.uptime);
  return {
    ...(savedAt === undefined ? {} : { savedAt }),
    ...(bootTime === undefined ? {} : { bootTime }),
    uptime: clock.uptime / SECOND,
  };
}

/** The rows people read: name and value. */
export function systemRows(system: LinuxSystem, panic: string | undefined): [string, string][] {
  const { savedAt, bootTime } = times(system);
  const { release, version, machine, memory, load, taint, clock, cpus, hung } = system;
  const rows: [string, string | undefined][] = [
    ["kernel", [release, version].filter((part) => part !== undefined).join(" ") || undefined],
    ["machine", [machine, system.processor].filter((part) => part !== undefined).join(", ") || undefined],
    ["host name", system.hostName],
    ["command line", system.commandLine],
    ["booted", bootTime],
    ["saved", savedAt],
    ["uptime", clock === undefined ? undefined : duration(clock.uptime)],
    ["load", load?.map((value) => value.toFixed(2)).join(" ")],
    [
      "memory",
      memory === undefined
        ? undefined
        : `${size(memory.total)}, ${size(memory.free)} free${memory.cached === undefined ? "" : `, ${size(memory.cached)} files`}`,
    ],
    [
      "tainted",
      taint === undefined
        ? undefined
        : taint.mask === 0n
          ? "no"
          : `${taint.letters} (0x${taint.mask.toString(16)})`,
    ],
    ["panic", panic ?? (system.panicCpu === undefined ? undefined : `on CPU ${system.panicCpu}`)],
    ...cpus.map(({ cpu, online, task, at }): [string, string | undefined] => {
      const what = task === undefined ? "" : task.idle ? "idle" : `${task.comm} (${task.pid})`;
      const where = at === undefined ? "" : `${what === "" ? "" : " "}in ${at === "user" ? "user mode" : at}`;
      return [`CPU ${cpu}`, `${what}${where}${online ? "" : " (offline)"}`.trim() || undefined];
    }),
    ...(hung ?? []).map(({ pid, comm, blocked }): [string, string] => [
      "hung task",
      `${comm} (${pid}), blocked for ${Math.round(blocked / SECOND)} s`,
    ]),
  ];
  return rows.flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, printable(value)]],
  );
}

/** Parts that are missing, by why. */
function byReason(missing: LinuxSystem["missing"]): ReadonlyMap<string, readonly string[]> {
  const reasons = new Map<string, string[]>();
  for (const [part, why] of Object.entries(missing)) reasons.set(why, [...(reasons.get(why) ?? []), part]);
  return reasons;
}

export const command: Command = {
  name: "sys",
  summary: "show what a Linux guest was and was doing: kernel, host, load, memory, CPUs, panic",
  examples: ["guestscope sys web01.save", "guestscope sys --json core.4711 | jq .load"],
  configure(parser) {
    addKernelOptions(parser);
  },
  async run(args) {
    const { json, quiet, input } = args as KernelArguments;
    return withKernel(args, async (kernel) => {
      if (kernel.types !== undefined) await useModuleSymbols(kernel);
      const system = await systemOf(kernel);
      const panic = await readPanicMessage(kernel).catch((error: unknown) => {
        if (error instanceof AbsentError) return undefined;
        throw error;
      });
      const isWhole = Object.keys(system.missing).length === 0;
      if (json) {
        const { clock: _, ...rest } = system;
        printJson({
          schemaVersion: 1,
          kind: "linux-system",
          source: input,
          ...rest,
          ...times(system),
          ...(panic === undefined ? {} : { panic }),
          troubles: kernel.troubles,
        } satisfies LinuxSystemDocument);
      } else if (!quiet) {
        const rows = systemRows(system, panic);
        for (const [name, value] of rows) print(`${name.padEnd(13)} ${value}`);
        for (const [why, parts] of byReason(system.missing))
          print(`${"not known".padEnd(13)} ${parts.join(", ")}: ${printable(why)}`);
      }
      return isWhole ? EXIT.good : EXIT.badInput;
    });
  },
};
