import type { GuestInspection, MemorySummary } from "../../guest/inspection.js";
import type { AvmlInspection } from "../../vmcore/avml/inspect.js";
import type { RawInspection } from "../../vmcore/raw/guest.js";
import type { ElfVmcoreDetails, ElfVmcoreInspection } from "../../vmcore/elf/inspect.js";
import type { GuestSummary } from "../../guest/summary.js";
import type { KdumpDetails, KdumpInspection } from "../../vmcore/kdump/inspect.js";
import type { LimeInspection } from "../../vmcore/lime/inspect.js";
import type { XenCoreDetails, XenCoreInspection } from "../../vmcore/xen-core/inspect.js";
import { hex, paint, size, tableLines } from "../terminal.js";
import { percent } from "./memory.js";
import { count, counted, factLines, indented, type PresentOptions } from "./presenter.js";
import { vcpuLines } from "./vcpu.js";

type Fact = readonly [name: string, value: string | undefined];
type Vmcore = GuestSummary &
  (
    | KdumpInspection
    | ElfVmcoreInspection
    | LimeInspection
    | AvmlInspection
    | RawInspection
    | XenCoreInspection
  );

/** Lines of a map shown without `verbose`. */
const FEW = 16;

/** A vmcore of any kind as text. */
export function present(inspection: GuestInspection, options: PresentOptions): readonly string[] {
  const found = inspection as Vmcore;
  const vmcoreInfo = found.software?.vmcoreInfo;
  return [
    ...factLines(paint("bold", "Dump"), [...formFacts(found), ...guestFacts(found)]),
    ...(found.kind === "elf-vmcore"
      ? ["", ...segmentLines(found.details, options)]
      : ["", ...regionLines(found.memory, options)]),
    ...(found.memory.missing.length === 0
      ? []
      : ["", ...found.memory.missing.map(({ text, bytes }) => `not here: ${size(bytes)}, ${text}`)]),
    ...(found.vcpus.length === 0 ? [] : ["", ...found.vcpus.flatMap((vcpu) => vcpuLines(vcpu, options))]),
    ...(options.verbose && vmcoreInfo !== undefined
      ? ["", "VMCOREINFO", ...indented(vmcoreInfo.text.trimEnd().split("\n"))]
      : []),
    ...(found.warnings.length === 0 ? [] : ["", ...found.warnings.map((warning) => `warning: ${warning}`)]),
  ];
}

function formFacts(found: Vmcore): Fact[] {
  switch (found.kind) {
    case "kdump":
      return kdumpFacts(found.details);
    case "xen-core":
      return xenFacts(found.details);
    case "lime":
      return [["ranges", count(found.details.ranges)]];
    case "raw":
      return found.details.pieces.map(
        ({ source, start, end }): Fact => [`${hex(start)}-${hex(end)}`, source],
      );
    case "avml":
      return [
        ["ranges", count(found.details.ranges)],
        ["chunks", count(found.details.chunks)],
      ];
    case "elf-vmcore":
      return elfFacts(found.details);
  }
}

function guestFacts({ guest, memory }: GuestSummary): Fact[] {
  const whole = memory.present + memory.zero + memory.absent;
  return [
    ["architecture", guest.arch],
    [
      "guest memory",
      `${size(whole)}: ${size(memory.present + memory.zero)} there, ${size(memory.absent)} missing (${percent(memory.absent, whole)})`,
    ],
  ];
}

function kdumpFacts(found: KdumpDetails): Fact[] {
  const { uname, flattened, split, pages, physBase } = found;
  const packed = Object.entries(pages.byCompression).map(([name, n]) => `${count(n)} ${name}`);
  return [
    ["form", `version ${found.headerVersion}, ${found.bits}-bit, ${found.order} endian`],
    [
      "uname",
      Object.values(uname)
        .filter((part) => part !== "")
        .join(" ") || undefined,
    ],
    ["block size", String(found.blockSize)],
    ["dump level", String(found.dumpLevel)],
    ["complete", found.incomplete ? "no: its writer ran out of space" : undefined],
    ["flattened", flattened === undefined ? undefined : counted(flattened.records, "record")],
    [
      "split",
      split?.parts.map((part) => `${part.source}: ${hex(part.firstFrame)}-${hex(part.endFrame)}`).join("; "),
    ],
    ["pages", `${count(pages.dumped)} (${packed.join(", ")}), ${count(pages.excluded)} excluded`],
    [
      "phys_base",
      `${physBase.header}${physBase.vmcoreInfo === undefined ? "" : `, VMCOREINFO ${physBase.vmcoreInfo}`}`,
    ],
    ["notes", noteNames(found.notes)],
  ];
}

function elfFacts(found: ElfVmcoreDetails): Fact[] {
  return [
    ["form", `ELF${found.bits}, ${found.order} endian`],
    ["notes", noteNames(found.notes)],
  ];
}

function xenFacts(found: XenCoreDetails): Fact[] {
  return [
    ["guest type", found.guestType],
    ["Xen", found.xenVersion],
    ["pages", count(found.pages)],
    ["sections", found.sections.map(({ name }) => name).join(" ")],
  ];
}

/** `2 CORE/1, 2 QEMU/0, VMCOREINFO/0`. */
function noteNames(notes: readonly { readonly name: string; readonly type: number }[]): string | undefined {
  const counts = new Map<string, number>();
  for (const { name, type } of notes) counts.set(`${name}/${type}`, (counts.get(`${name}/${type}`) ?? 0) + 1);
  const parts = Array.from(counts, ([name, n]) => (n === 1 ? name : `${n} ${name}`));
  return parts.length === 0 ? undefined : parts.join(", ");
}

function segmentLines({ segments }: ElfVmcoreDetails, { verbose }: PresentOptions): string[] {
  const shown = verbose ? segments : segments.slice(0, FEW);
  const rows = shown.map((s) => [
    hex(s.physical),
    s.virtual,
    hex(s.memorySize),
    hex(s.fileSize),
    hex(s.offset),
  ]);
  const titles = ["physical", "virtual", "memory", "in the file", "offset"].map((title) => ({
    title,
    align: "right" as const,
  }));
  const rest = segments.length - shown.length;
  return [
    ...tableLines(titles, rows),
    ...(rest > 0 ? [`and ${count(rest)} more; --verbose shows them`] : []),
  ];
}

function regionLines({ regions, regionsLeftOut }: MemorySummary, { verbose }: PresentOptions): string[] {
  const shown = verbose ? regions : regions.slice(0, FEW);
  const rest = regions.length - shown.length + regionsLeftOut;
  return [
    ...shown.map(({ start, end }) => `memory ${hex(start)}-${hex(end)} (${size(end - start)})`),
    ...(rest > 0 ? [`and ${count(rest)} more`] : []),
  ];
}
