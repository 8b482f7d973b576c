import type { GuestInspection } from "../../guest/inspection.js";
import type { AvmlInspection } from "../../vmcore/avml/inspect.js";
import type { RawInspection } from "../../vmcore/raw/guest.js";
import type { ElfVmcoreDetails, ElfVmcoreInspection } from "../../vmcore/elf/inspect.js";
import type { GuestSummary } from "../../guest/summary.js";
import type { KdumpDetails, KdumpInspection } from "../../vmcore/kdump/inspect.js";
import type { LimeInspection } from "../../vmcore/lime/inspect.js";
import type { XenCoreDetails, XenCoreInspection } from "../../vmcore/xen-core/inspect.js";
import { hex, size, tableLines } from "../terminal.js";
import { memorySection } from "./memory.js";
import { count, counted, facts, type PresentOptions, type Section } from "./presenter.js";

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

/** A vmcore of any kind as text. */
export function present(inspection: GuestInspection, options: PresentOptions): readonly Section[] {
  const found = inspection as Vmcore;
  const vmcoreInfo = found.software?.vmcoreInfo;
  return [
    { title: "Dump", lines: facts(formFacts(found)) },
    memorySection(found.memory, options),
    ...(found.kind === "elf-vmcore" ? [segmentSection(found.details, options)] : []),
    ...(options.verbose && vmcoreInfo !== undefined
      ? [{ title: "VMCOREINFO", lines: vmcoreInfo.text.trimEnd().split("\n") }]
      : []),
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
        ({ source, start, end }): Fact => [`${hex(start)}-${hex(end - 1)}`, source],
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
    ["block size", size(found.blockSize)],
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
      `${hex(BigInt(physBase.header))}${physBase.vmcoreInfo === undefined ? "" : `, VMCOREINFO ${hex(BigInt(physBase.vmcoreInfo))}`}`,
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

/** Program headers, with `verbose`; else the section Memory says what they cover. */
function segmentSection({ segments }: ElfVmcoreDetails, { verbose }: PresentOptions): Section {
  const title = "Segments";
  if (!verbose) return { title, note: count(segments.length), lines: [] };
  const titles = ["physical", "virtual", "memory", "in the file", "offset"].map((name) => ({
    title: name,
    align: "right" as const,
  }));
  const rows = segments.map((s) => [
    hex(s.physical),
    s.virtual,
    hex(s.memorySize),
    hex(s.fileSize),
    hex(s.offset),
  ]);
  return { title, note: count(segments.length), lines: rows.length === 0 ? [] : tableLines(titles, rows) };
}
