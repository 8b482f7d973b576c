import { dotted } from "../../guest/hex-rows.js";
import { hvmParamName } from "../../xen/libxc/hvm-params.js";
import type { LegacyChunk, PagesChunk } from "../../xen/legacy/chunks.js";
import type { ConversionReport } from "../../xen/legacy/conversion-report.js";
import { hasData, isPageTable, TYPE } from "../../xen/legacy/layout.js";
import type { GuestInspection, MemorySummary } from "../../guest/inspection.js";
import type { EnvelopeDetails } from "../../xen/envelopes/envelope.js";
import type { LegacyInspection } from "../../xen/legacy/inspect.js";
import { hex, size } from "../terminal.js";
import { memorySection } from "./memory.js";
import {
  count,
  counted,
  facts,
  idRanges,
  type PresentOptions,
  type Section,
  tscText,
  vcpuCount,
} from "./presenter.js";

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Describes one chunk of a legacy stream in a line, lists in a few. */
export function describeChunk(chunk: LegacyChunk): string[] {
  const place = `0x${chunk.offset.toString(16).padStart(8, "0")}`;
  const [first = "", ...more] = chunkText(chunk);
  return [`${place}  ${first}`, ...more.map((line) => `${" ".repeat(place.length + 4)}${line}`)];
}

function chunkText(chunk: LegacyChunk): string[] {
  switch (chunk.kind) {
    case "xl-header":
      return [
        `xl header: ${chunk.bytes.length} bytes, configuration ${chunk.jsonConfig ? "as JSON" : "in xl's own syntax"}`,
      ];
    case "header":
      return [
        `header: ${chunk.width}-bit toolstack, ${chunk.guest.toUpperCase()} guest, p2m_size ${hex(chunk.p2mSize)}`,
      ];
    case "pv-info":
      return [
        `extended info: ${chunk.guestWidth * 8}-bit guest, ${chunk.levels} levels of page tables`,
        `vCPU context of ${chunk.contextSize} bytes${chunk.extended ? ", extended context" : ""}${
          chunk.xsaveSize === undefined ? ", no XSAVE area" : `, XSAVE area of ${chunk.xsaveSize} bytes`
        }`,
        chunk.p2mFrames === undefined
          ? "list of p2m frames: damaged"
          : `p2m table in ${plural(chunk.p2mFrames.length, "frame")}`,
      ];
    case "pages":
      return [pagesText(chunk)];
    case "verify-mode":
      return ["verify mode: pages from here on are repeats for comparison"];
    case "vcpu-info":
      return [`vCPU info: highest id ${chunk.maxId}, online ${idRanges(chunk.online)}`];
    case "parameter":
      return [`${chunk.name}: ${hex(chunk.value)} (HVM parameter ${chunk.parameter})`];
    case "tmem":
      return [
        `tmem: ${plural(chunk.pools.length, "pool")}`,
        ...chunk.pools.map(
          (pool) =>
            `pool ${pool.id}: ${pool.persistent ? "persistent" : "ephemeral"}, ${plural(pool.pages, "page")} in the stream`,
        ),
      ];
    case "tmem-invalidations":
      return [`tmem invalidations: ${chunk.count}`];
    case "tsc-info":
      return [
        `TSC info: mode ${chunk.mode}, ${chunk.khz} kHz, ${chunk.nsec} ns, incarnation ${chunk.incarnation}`,
      ];
    case "last-checkpoint":
      return ["last checkpoint: nothing follows this one"];
    case "enable-compression":
      return ["compression: from the next checkpoint on"];
    case "compressed-data":
      return [`compressed data: ${size(chunk.dataLength)}`];
    case "toolstack":
      return [
        `toolstack: ${chunk.physmap.length} physmap ${chunk.physmap.length === 1 ? "entry" : "entries"}`,
        ...chunk.physmap.map(
          ({ physOffset, startAddr, size: bytes, name }) =>
            `${hex(physOffset)} at ${hex(startAddr)}, ${hex(bytes)} bytes, ${name === undefined ? "no name" : `'${dotted(name)}'`}`,
        ),
      ];
    case "end-of-body":
      return ["end of the body"];
    case "hvm-tail":
      return [
        `HVM tail: ioreq pfn ${hex(chunk.ioreqPfn)}, buffered ioreq pfn ${hex(chunk.bufferedIoreqPfn)}, store pfn ${hex(chunk.storePfn)}`,
        `HVM context of ${chunk.dataLength} bytes`,
      ];
    case "qemu":
      return [
        `QEMU record ${chunk.signature}: ${chunk.dataLength === undefined ? "up to the end of the input" : `${chunk.dataLength} bytes`}`,
      ];
    case "unmapped":
      return [`unmapped pfns: ${chunk.pfns.size}`];
    case "vcpu":
      return [
        `vCPU ${chunk.id}: ${chunk.context.length} bytes${chunk.extended === undefined ? "" : `, extended ${chunk.extended.length}`}${
          chunk.xsave === undefined
            ? ""
            : `, XSAVE ${chunk.xsave.length} (features ${hex(chunk.xsaveMask ?? 0)})`
        }`,
      ];
    case "shared-info":
      return ["shared info page"];
    case "checkpoint":
      return [`checkpoint ${chunk.number} is complete${chunk.last ? "; end of the stream" : ""}`];
  }
}

function pagesText(chunk: PagesChunk): string {
  let low = Number.POSITIVE_INFINITY;
  let high = -1;
  let tables = 0;
  const kinds = new Map<string, number>();
  for (const entry of chunk.entries) {
    const type = entry >>> 28;
    const pfn = entry & 0x0fffffff;
    if (isPageTable(type)) tables += 1;
    if (!hasData(type)) {
      const kind = type === TYPE.invalid ? "invalid" : type === TYPE.broken ? "broken" : "allocate only";
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
    if (type === TYPE.invalid) continue;
    low = Math.min(low, pfn);
    high = Math.max(high, pfn);
  }
  const range = high < 0 ? "" : `, pfns ${hex(low)} to ${hex(high)}`;
  const how = chunk.verify ? " to compare" : chunk.compressed ? " that come compressed" : "";
  const others = Array.from(kinds, ([kind, count]) => `, ${count} ${kind}`).join("");
  const tablesText = tables === 0 ? "" : ` (${plural(tables, "page table")})`;
  return `pages: ${plural(chunk.entries.length, "entry").replace("entrys", "entries")}${range}, ${chunk.dataPages} with contents${how}${tablesText}${others}`;
}

const p2mText = (p2mSize: number | undefined): string =>
  `p2m_size ${p2mSize === undefined ? "not known" : hex(p2mSize)}`;

/** What a conversion did, in a few lines. */
export function conversionLines(report: ConversionReport): string[] {
  const { input, output, checkpoints } = report;
  const guest = input.guestWidth === undefined ? "HVM guest" : `PV guest of ${input.guestWidth * 8} bits`;
  const lines = [
    `${report.source}: legacy ${input.layer} stream of a ${input.width}-bit toolstack, ${guest}, ${p2mText(input.p2mSize)}`,
    `  pages        ${output.pages.contents} with contents (${size(output.pages.contents * 4096)})${
      output.pages.allocated === 0 ? "" : `, ${output.pages.allocated} only allocated`
    }${output.pages.broken === 0 ? "" : `, ${output.pages.broken} broken`}`,
  ];
  if (report.droppedCopies > 0) {
    lines.push(
      `  left out     ${plural(report.droppedCopies, "copy").replace("copys", "copies")} of pages sent again later, dropped or given back`,
    );
  }
  if (checkpoints.begun > 1 || !checkpoints.marked) {
    lines.push(
      `  checkpoints  ${checkpoints.complete} complete of ${checkpoints.begun} begun${input.compression ? ", compressed" : ""}`,
    );
  }
  const { vcpus } = report;
  lines.push(`  vCPUs        ${vcpuCount(vcpus)}`);
  const parameters = Object.entries(report.parameters).map(
    ([index, value]) => `${hvmParamName(Number(index)) ?? index} ${hex(value)}`,
  );
  if (parameters.length > 0) lines.push(`  parameters   ${parameters.join(", ")}`);
  if (report.emulator !== undefined) {
    lines.push(`  emulator     ${report.emulator.length} bytes (${report.emulator.signature})`);
  }
  for (const loss of report.losses) lines.push(`  lost         ${loss}`);
  lines.push(
    `  written      ${output.format} stream, libxc version ${output.version}, ${size(output.bytes)}${output.streamed ? ", while it was read" : ""}`,
  );
  return lines;
}

/** Warnings of a conversion, a line each. */
export function findingLines(report: ConversionReport): string[] {
  return report.findings.map(
    ({ severity, offset, message, code }) =>
      `${report.source}: ${severity}: offset ${hex(offset)}: ${message} [${code}]`,
  );
}

/** A legacy stream as text: its layers, guest, memory and emulator. */
export function present(inspection: GuestInspection, options: PresentOptions): readonly Section[] {
  const { memory, details: stream } = inspection as LegacyInspection;
  const { checkpoints, emulator, tsc, config } = stream;
  const width = stream.guestWidth === undefined ? "" : `, ${stream.guestWidth * 8}-bit`;
  const guest = stream.guest === undefined ? "not known" : `${stream.guest.toUpperCase()}${width}`;
  const rewritten = [
    ...(stream.live ? ["live"] : []),
    ...(stream.compression ? ["compressed checkpoints"] : []),
    ...(stream.verifyPass ? ["with a verify pass"] : []),
  ];
  const layers = { libxc: "libxc", libxl: "libxl > libxc", xl: "xl > libxl > libxc" };
  return [
    {
      title: "Stream",
      lines: facts([
        ["envelope", (stream as Partial<EnvelopeDetails>).envelope?.title],
        ["layers", layers[stream.layer]],
        ["domain", guest],
        ["toolstack", `${stream.width}-bit`],
        ["saved", rewritten.length === 0 ? undefined : rewritten.join(", ")],
        [
          "checkpoints",
          checkpoints.marked && checkpoints.complete === 1
            ? undefined
            : `${checkpoints.complete} complete of ${checkpoints.begun} begun`,
        ],
        ["TSC", tsc === undefined ? undefined : tscText(tsc)],
        [
          "emulator",
          emulator === undefined
            ? undefined
            : `${emulator.signature}${emulator.length === undefined ? "" : `, ${size(emulator.length)}`}`,
        ],
        ["tmem", stream.tmem.length === 0 ? undefined : plural(stream.tmem.length, "pool")],
      ]),
    },
    legacyMemory(stream, memory, options),
    {
      title: "HVM parameters",
      lines: facts(Object.entries(stream.hvmParams).map(([name, value]) => [name, hex(value)] as const)),
    },
    {
      title: "QEMU's physmap",
      lines: facts(
        stream.physmap.map(
          ({ physOffset, startAddr, size: bytes, name }) =>
            [
              hex(physOffset),
              `at ${hex(startAddr)}, ${hex(bytes)} bytes${name === undefined ? "" : `, ${name}`}`,
            ] as const,
        ),
      ),
    },
    ...(options.verbose && config !== undefined
      ? [{ title: "Configuration", lines: config.text.trimEnd().split("\n") }]
      : []),
  ];
}

/** Guest memory with how its pages were sent. */
function legacyMemory(
  { p2mSize, pages, unmapped, entries }: LegacyInspection["details"],
  memory: MemorySummary | undefined,
  options: PresentOptions,
): Section {
  const { lines, ...section } =
    memory === undefined ? { title: "Memory", lines: [] } : memorySection(memory, options);
  const types = Object.entries(pages).map(([type, n]) => `${count(n)} ${type}`);
  return {
    ...section,
    lines: [
      ...lines,
      ...(types.length === 0 ? [] : [`pages by type: ${types.join(", ")}`]),
      `sent: ${counted(entries.copies, "copy", "copies")} in ${counted(entries.batches, "batch", "batches")}, ${p2mText(p2mSize)}`,
      ...(unmapped === 0 ? [] : [`given back: ${counted(unmapped, "pfn")}`]),
    ],
  };
}
