import type { GuestInspection, MemorySummary } from "../../guest/inspection.js";
import type { FlatRangeEntry, QemuCoreInspection } from "../../qemu/core/inspect.js";
import { hex, size, tableLines } from "../terminal.js";
import { memorySection, missingLines, percent } from "./memory.js";
import { count, facts, type PresentOptions, type Section } from "./presenter.js";

/** A QEMU core or process as text. */
export function present(inspection: GuestInspection, options: PresentOptions): readonly Section[] {
  const { details, memory } = inspection as QemuCoreInspection;
  const blocks = tableLines(
    [
      { title: "block" },
      { title: "bytes", align: "right" },
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
    {
      title: `${details.what === "core" ? "Core" : "Process"} of QEMU`,
      lines: facts([
        ["program", details.program.path],
        ["build id", details.program.buildId],
        ["QEMU version", details.qemuVersion],
        ["machine", details.machine],
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
      ]),
    },
    ...(memory === undefined ? [] : [coreMemory(details, memory, options)]),
    {
      title: "Memory map",
      note: details.layoutBy === "debug-info" ? "as 'info mtree -f'; - is not in dumps" : undefined,
      lines: details.flatView.map(rangeLine),
    },
    { title: "RAM blocks", lines: blocks },
  ];
}

/** Memory with what is missing of it by region, and what was never written. */
function coreMemory(
  { missing }: QemuCoreInspection["details"],
  memory: MemorySummary,
  options: PresentOptions,
): Section {
  const { present, zero, absent } = memory;
  const whole = present + zero + absent;
  const { lines, ...section } = memorySection({ ...memory, missing: [] }, options);
  return {
    ...section,
    lines: [
      ...lines,
      ...(zero === 0 ? [] : [`never written: ${size(zero)} (${percent(zero, whole)}), zeros`]),
      ...missingLines(missing, whole),
    ],
  };
}

/** As `info mtree -f` prints it, marked where dumps leave it out. */
function rangeLine(range: FlatRangeEntry): string {
  const address = (value: number): string => value.toString(16).padStart(16, "0");
  const offset = range.offsetInRegion === 0 ? "" : ` @${address(range.offsetInRegion)}`;
  const priority = range.priority === undefined ? "" : `prio ${range.priority}, `;
  const what = `(${priority}${range.type}): ${range.name ?? "?"}${offset}`;
  return `${range.dumped ? " " : "-"} ${address(range.start)}-${address(range.end - 1)} ${what}`;
}
