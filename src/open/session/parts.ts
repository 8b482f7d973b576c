import { Report } from "../../findings/report.js";
import type { ByteSource } from "../../io/byte-source.js";
import { GuestscopeError } from "../../findings/errors.js";
import { listedParts } from "./inspection.js";
import type { FilePart, FileParts } from "./protocol.js";
import { readStructure } from "./structures.js";

/** Parts listed at most: a stream of 64 GiB has some 16,000 records. */
const MOST_PARTS = 1 << 17;

/** Collects parts up to the limit. */
class Collector {
  readonly parts: FilePart[] = [];
  leftOut = 0;

  add(part: FilePart): void {
    if (this.parts.length < MOST_PARTS) this.parts.push(part);
    else this.leftOut += 1;
  }
}

/** Structures that a record's body begins with, by the record's name. */
const BODIES: Readonly<Record<string, readonly string[]>> = {
  X86_PV_INFO: ["X86_PV_INFO"],
  X86_PV_P2M_FRAMES: ["X86_PV_P2M_FRAMES header"],
  X86_PV_VCPU_BASIC: ["X86_PV_VCPU header"],
  X86_PV_VCPU_EXTENDED: ["X86_PV_VCPU header"],
  X86_PV_VCPU_XSAVE: ["X86_PV_VCPU header", "X86_PV_VCPU_XSAVE context"],
  X86_PV_VCPU_MSRS: ["X86_PV_VCPU header", "X86_PV_VCPU_MSRS entry"],
  X86_TSC_INFO: ["X86_TSC_INFO"],
  HVM_CONTEXT: ["HVM save descriptor", "HVM save HEADER"],
  HVM_PARAMS: ["HVM_PARAMS header", "HVM_PARAMS entry"],
  X86_CPUID_POLICY: ["X86_CPUID_POLICY entry"],
  X86_MSR_POLICY: ["X86_MSR_POLICY entry"],
  EMULATOR_CONTEXT: ["libxl emulator header"],
  EMULATOR_XENSTORE_DATA: ["libxl emulator header"],
  CHECKPOINT_STATE: ["libxl checkpoint state"],
};
const PAGE_DATA = ["PAGE_DATA header", "PAGE_DATA entry"] as const;
const RECORD_HEADER = 8;
const PAGE = 4096;

async function xenStreamParts(source: ByteSource, found: Collector): Promise<FileParts["order"]> {
  const { XenStream } = await import("../../xen/stream/read.js");
  const stream = new XenStream(source, new Report(source.name));
  let order: FileParts["order"] = "little";
  for await (const item of stream.items()) {
    const { offset } = item;
    const header = (layer: string, name: string, end: number, structure: string): void =>
      found.add({ start: offset, end, layer, name, structures: [structure] });
    switch (item.kind) {
      case "xl-header":
        header("xl", "xl header", stream.reader.position, "xl header");
        break;
      case "libxl-header":
        header("libxl", "libxl header", offset + 16, "libxl header");
        break;
      case "image-header":
        ({ order } = item);
        header("libxc", "image header", offset + 24, "libxc image header");
        break;
      case "domain-header":
        header("libxc", "domain header", offset + 16, "libxc domain header");
        break;
      case "trailing":
        found.add({ start: offset, end: source.size, layer: "after END", name: "trailing bytes" });
        break;
      default: {
        const { layer, ref, bodyOffset, length } = item;
        const isPages = ref.type === "PAGE_DATA";
        const pages = Math.floor(length / PAGE);
        found.add({
          start: offset,
          // bodies are padded to 8 bytes
          end: Math.min(source.size, bodyOffset + Math.ceil(length / RECORD_HEADER) * RECORD_HEADER),
          layer,
          name: ref.type,
          ...(isPages ? { detail: `${pages.toLocaleString("en-US")} pages` } : {}),
          structures: [`${layer} record header`, ...(isPages ? PAGE_DATA : (BODIES[ref.type] ?? []))],
        });
      }
    }
  }
  return order;
}

async function legacyParts(source: ByteSource, found: Collector): Promise<void> {
  const { LegacyReader } = await import("../../xen/legacy/read.js");
  const reader = new LegacyReader(source, { diagnostics: new Report(source.name) });
  let last: { start: number; name: string; detail?: string } | undefined;
  const finish = (end: number): void => {
    if (last !== undefined && end > last.start) found.add({ ...last, end, layer: "legacy" });
  };
  try {
    for await (const chunk of reader.chunks()) {
      // chunks of no bytes of their own say what was understood, not what is here
      if (chunk.offset === last?.start) continue;
      finish(chunk.offset);
      const pages = chunk.kind === "pages" ? { detail: `${chunk.dataPages} pages` } : {};
      const name = chunk.kind === "parameter" ? `parameter ${chunk.name}` : chunk.kind.replaceAll("-", " ");
      last = { start: chunk.offset, name, ...pages };
    }
  } finally {
    finish(source.size);
  }
}

const numberOf = (value: unknown): number => (typeof value === "number" ? value : 0);
const PT_NOTE = 4;

async function elfParts(source: ByteSource, found: Collector): Promise<FileParts["order"]> {
  const ident = await readStructure(source, "e_ident", 0, "little");
  const bits = numberOf(ident?.class ?? ident?.EI_CLASS) === 1 ? 32 : 64;
  const order = numberOf(ident?.data ?? ident?.EI_DATA) === 2 ? "big" : "little";
  const head = bits === 64 ? 64 : 52;
  const header = await readStructure(source, `Elf${bits}_Ehdr`, 0, order);
  found.add({ start: 0, end: head, layer: "ELF", name: "ELF header", structures: [`Elf${bits}_Ehdr`] });
  const table = numberOf(header?.e_phoff);
  const count = numberOf(header?.e_phnum);
  const entry = bits === 64 ? 56 : 32;
  if (count === 0) return order;
  found.add({
    start: table,
    end: Math.min(source.size, table + count * entry),
    layer: "ELF",
    name: "program headers",
    detail: `${count} entries`,
    structures: [`Elf${bits}_Phdr`],
  });
  for (let i = 0; i < Math.min(count, 16); i += 1) {
    const phdr = await readStructure(source, `Elf${bits}_Phdr`, table + i * entry, order);
    if (numberOf(phdr?.p_type) !== PT_NOTE) continue;
    const start = numberOf(phdr?.p_offset);
    found.add({
      start,
      end: Math.min(source.size, start + numberOf(phdr?.p_filesz)),
      layer: "ELF",
      name: "notes",
      structures: ["Elf_Nhdr"],
    });
  }
  return order;
}

/**
 * What is where in a file, ascending. A damaged file is listed as far as it can be read.
 * @param format id of the input's format
 * @param inspection its document, if there is one
 */
export async function fileParts(
  source: ByteSource,
  format: string,
  inspection: object | undefined,
): Promise<FileParts> {
  const found = new Collector();
  let order: FileParts["order"] = "little";
  try {
    if (format === "xen-stream") order = await xenStreamParts(source, found);
    else if (format === "xen-legacy") await legacyParts(source, found);
    else if (/elf|core/.test(format)) order = await elfParts(source, found);
    else if (format === "kdump") {
      const structures = ["disk_dump_header, 64-bit"];
      found.add({ start: 0, end: Math.min(PAGE, source.size), layer: "kdump", name: "header", structures });
      const sub = ["kdump_sub_header, 64-bit"];
      found.add({
        start: PAGE,
        end: Math.min(2 * PAGE, source.size),
        layer: "kdump",
        name: "sub-header",
        structures: sub,
      });
    }
  } catch (error) {
    // findings say what is wrong; the list ends there
    if (!(error instanceof GuestscopeError)) throw error;
  }
  if (inspection !== undefined) {
    for (const { start, size, ...rest } of listedParts(inspection)) {
      found.add({ ...rest, start, end: Math.min(source.size, start + size) });
    }
  }
  const parts = found.parts
    .filter(({ start, end }) => start <= end && start <= source.size)
    .sort((a, b) => a.start - b.start);
  return { parts: withRest(parts, source.size), leftOut: found.leftOut, order };
}

/** Adds what no part covers, so that the list accounts for every byte. */
function withRest(parts: readonly FilePart[], size: number): FilePart[] {
  const all: FilePart[] = [];
  let at = 0;
  for (const part of parts) {
    if (part.start > at) all.push({ start: at, end: part.start, layer: "", name: "not listed" });
    all.push(part);
    at = Math.max(at, part.end);
  }
  if (at < size) all.push({ start: at, end: size, layer: "", name: "not listed" });
  return all;
}
