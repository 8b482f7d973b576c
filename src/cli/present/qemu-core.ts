import type { Inspection } from "../../guest/input-format.js";
import type { Vcpu } from "../../guest/vcpu.js";
import type { FlatRangeEntry, QemuCoreInspection } from "../../qemu/core/inspect.js";
import { hex, size, tableLines } from "../terminal.js";
import { missingLines, percent } from "./memory.js";
import { count, factLines, indented, type PresentOptions } from "./presenter.js";

/** A QEMU core as text. */
export function present(inspection: Inspection, options: PresentOptions): readonly string[] {
  const found = inspection as QemuCoreInspection;
  const { present, zero, absent } = found.memory;
  const whole = present + zero + absent;
  const facts = factLines(`${found.source}: ${found.what} of QEMU`, [
    ["program", found.program.path],
    ["build id", found.program.buildId],
    ["QEMU version", found.qemuVersion],
    ["machine", found.machine],
    ["architecture", found.arch],
    ["accelerator", found.accelerator],
    ["RAM (-m)", found.ramSize === undefined ? undefined : size(found.ramSize)],
    ["dump-guest-core", found.dumpGuestCore === undefined ? undefined : found.dumpGuestCore ? "on" : "off"],
    ["VMCOREINFO", release(found.vmcoreInfo)],
    [
      "guest memory",
      `${size(whole)}: ${size(present)} there, ${size(zero)} never written, ${size(absent)} missing (${percent(absent, whole)})`,
    ],
  ]);
  const blocks = tableLines(
    [
      { title: "RAM block" },
      { title: "size", align: "right" },
      { title: "host" },
      { title: "page", align: "right" },
      { title: "fd", align: "right" },
    ],
    found.ramBlocks.map((block) => [
      block.id,
      count(block.usedLength),
      hex(block.host),
      block.pageSize === undefined ? "" : size(block.pageSize),
      block.fd === undefined || block.fd < 0 ? "" : String(block.fd),
    ]),
  );
  return [
    ...facts,
    "",
    "flat view (- is not in dumps)",
    ...found.flatView.map(rangeLine),
    "",
    ...blocks,
    ...(found.vcpus.length === 0 ? [] : ["", ...found.vcpus.flatMap((vcpu) => vcpuLines(vcpu, options))]),
    ...(found.missing.length === 0 ? [] : ["", ...missingLines(found.missing, whole)]),
    ...(found.warnings.length === 0 ? [] : ["", ...found.warnings.map((warning) => `warning: ${warning}`)]),
  ];
}

/** As `info mtree -f` prints it, marked where dumps leave it out. */
function rangeLine(range: FlatRangeEntry): string {
  const address = (value: number): string => value.toString(16).padStart(16, "0");
  const offset = range.offsetInRegion === 0 ? "" : ` @${address(range.offsetInRegion)}`;
  const what = `(prio ${range.priority}, ${range.type}): ${range.name ?? "?"}${offset}`;
  return `${range.dumped ? " " : "-"} ${address(range.start)}-${address(range.end - 1)} ${what}`;
}

function release(text: string | undefined): string | undefined {
  return text === undefined ? undefined : (/^OSRELEASE=(.*)$/m.exec(text)?.[1] ?? "present");
}

/** A processor: the main registers, all of them with `verbose`. */
export function vcpuLines(vcpu: Vcpu, options: PresentOptions): string[] {
  const { registers } = vcpu;
  if (registers === undefined) return [`vCPU ${vcpu.id}: registers not known`];
  if (registers.kind === "other") return [`vCPU ${vcpu.id}`];
  if (registers.kind === "aarch64")
    return [`vCPU ${vcpu.id}: pc ${hex(registers.pc)}, sp ${hex(registers.sp)}`];
  const { general, control, segments } = registers;
  const head = `vCPU ${vcpu.id}: rip ${hex(general.rip)}, rsp ${hex(general.rsp)}, cr0 ${hex(control.cr0 ?? 0n)}, cr3 ${hex(control.cr3 ?? 0n)}, cr4 ${hex(control.cr4 ?? 0n)}`;
  if (!options.verbose) return [head];
  const values = (record: Readonly<Record<string, bigint>>): string =>
    Object.entries(record)
      .map(([name, value]) => `${name} ${hex(value)}`)
      .join(", ");
  const parts = Object.entries(segments).map(
    ([name, s]) =>
      `${name} ${hex(s.selector)} base ${hex(s.base)} limit ${hex(s.limit)} flags ${hex(s.flags)}`,
  );
  return [head, ...indented([values(general), ...parts, values(registers.msrs)])];
}
