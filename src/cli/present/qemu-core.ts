import type { GuestInspection } from "../../guest/inspection.js";
import type { FlatRangeEntry, QemuCoreInspection } from "../../qemu/core/inspect.js";
import { hex, paint, size, tableLines } from "../terminal.js";
import { missingLines, percent } from "./memory.js";
import { count, factLines, type PresentOptions } from "./presenter.js";
import { vcpuLines } from "./vcpu.js";

/** A QEMU core as text. */
export function present(inspection: GuestInspection, options: PresentOptions): readonly string[] {
  const found = inspection as QemuCoreInspection;
  const { details, vcpus = [] } = found;
  const { present, zero, absent } = found.memory ?? { present: 0, zero: 0, absent: 0 };
  const whole = present + zero + absent;
  const facts = factLines(paint("bold", `${details.what} of QEMU`), [
    ["program", details.program.path],
    ["build id", details.program.buildId],
    ["QEMU version", details.qemuVersion],
    ["machine", details.machine],
    ["architecture", found.guest?.arch],
    [
      "memory map",
      details.provenBy === undefined
        ? undefined
        : `by the command line; ${details.provenBy.length === 0 ? "addresses as given" : details.provenBy.join("; ")}`,
    ],
    ["accelerator", details.accelerator],
    ["RAM (-m)", details.ramSize === undefined ? undefined : size(details.ramSize)],
    [
      "dump-guest-core",
      details.dumpGuestCore === undefined ? undefined : details.dumpGuestCore ? "on" : "off",
    ],
    ["VMCOREINFO", release(found.software?.vmcoreInfo?.text)],
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
    details.ramBlocks.map((block) => [
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
    details.layoutBy === "debug-info" ? "flat view (- is not in dumps)" : "RAM",
    ...details.flatView.map(rangeLine),
    "",
    ...blocks,
    ...(vcpus.length === 0 ? [] : ["", ...vcpus.flatMap((vcpu) => vcpuLines(vcpu, options))]),
    ...(details.missing.length === 0 ? [] : ["", ...missingLines(details.missing, whole)]),
    ...(found.warnings.length === 0 ? [] : ["", ...found.warnings.map((warning) => `warning: ${warning}`)]),
  ];
}

/** As `info mtree -f` prints it, marked where dumps leave it out. */
function rangeLine(range: FlatRangeEntry): string {
  const address = (value: number): string => value.toString(16).padStart(16, "0");
  const offset = range.offsetInRegion === 0 ? "" : ` @${address(range.offsetInRegion)}`;
  const priority = range.priority === undefined ? "" : `prio ${range.priority}, `;
  const what = `(${priority}${range.type}): ${range.name ?? "?"}${offset}`;
  return `${range.dumped ? " " : "-"} ${address(range.start)}-${address(range.end - 1)} ${what}`;
}

function release(text: string | undefined): string | undefined {
  return text === undefined ? undefined : (/^OSRELEASE=(.*)$/m.exec(text)?.[1] ?? "present");
}
