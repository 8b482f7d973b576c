import type { Inspection } from "../../guest/input-format.js";
import type { FlatRangeEntry, QemuCoreInspection } from "../../qemu/core/inspect.js";
import { hex, size, tableLines } from "../terminal.js";
import { missingLines, percent } from "./memory.js";
import { count, factLines, type PresentOptions } from "./presenter.js";
import { vcpuLines } from "./vcpu.js";

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
