import type { Finding } from "../../findings/finding.js";
import type { Report } from "../../findings/report.js";
import type { StreamVersion } from "../libxc/write.js";
import type { OutputFormat, StreamEmitter, Target, WrittenPages } from "./emit.js";
import type { EntryCounts } from "./entry-counts.js";
import type { CheckpointFacts, StreamFacts } from "./fold.js";
import type { GuestKind, ToolstackWidth } from "./layout.js";
import type { TmemPool } from "./tmem.js";

/** What a conversion did. */
export interface ConversionReport {
  readonly schemaVersion: 1;
  readonly kind: "xen-legacy-conversion";
  readonly source: string;
  readonly input: {
    readonly width: ToolstackWidth;
    readonly guest: GuestKind;
    readonly guestWidth: number | undefined;
    /** Outermost layer. */
    readonly layer: OutputFormat;
    /** Undefined: it is damaged, and not known. */
    readonly p2mSize: number | undefined;
    readonly bytes: number;
    readonly entries: EntryCounts;
    readonly compression: boolean;
    readonly verifyPass: boolean;
  };
  readonly output: {
    readonly version: StreamVersion;
    readonly format: OutputFormat;
    readonly bytes: number;
    readonly pages: WrittenPages;
    /** Whether it was written while the input was read. */
    readonly streamed: boolean;
  };
  /** Copies of pages that are not in the output: later ones took their place, or the guest gave the page back. */
  readonly droppedCopies: number;
  /** pfns the guest had given back in the end. */
  readonly unmapped: number;
  readonly checkpoints: { readonly complete: number; readonly begun: number; readonly marked: boolean };
  /** HVM parameters by index. */
  readonly parameters: Readonly<Record<number, bigint>>;
  readonly vcpus: readonly number[];
  readonly tsc: { mode: number; khz: number; nsec: bigint; incarnation: number } | undefined;
  readonly hvmContextLength: number | undefined;
  readonly emulator: { readonly signature: string; readonly length: number } | undefined;
  readonly physmapEntries: number;
  /** What the input held and the output doesn't, one sentence each. */
  readonly losses: readonly string[];
  readonly findings: readonly Finding[];
}

/** What the report takes of a stream, whether its state was kept or passed on. */
type ConvertedFacts = StreamFacts &
  CheckpointFacts<
    { readonly length: number },
    { readonly signature: string; readonly length: number },
    unknown
  >;

/** Puts together what a conversion did. */
export function conversionReport(
  facts: ConvertedFacts,
  conversion: {
    readonly report: Report;
    /** Outermost layer of the input. */
    readonly layer: OutputFormat;
    readonly target: Target;
    readonly emitter: StreamEmitter;
    readonly streamed: boolean;
  },
): ConversionReport {
  const { header, pv, entries, emulator, physmap, tsc } = facts;
  const { report, layer, target, emitter, streamed } = conversion;
  return {
    schemaVersion: 1,
    kind: "xen-legacy-conversion",
    source: report.source,
    input: {
      width: header.width,
      guest: header.guest,
      guestWidth: pv?.guestWidth,
      layer,
      p2mSize: header.p2mSize,
      bytes: facts.end,
      entries,
      compression: facts.compression,
      verifyPass: facts.verifyPass,
    },
    output: { ...target, bytes: emitter.writer.written, pages: emitter.written, streamed },
    droppedCopies: entries.copies - emitter.written.contents,
    unmapped: facts.unmapped?.size ?? 0,
    checkpoints: facts.checkpoints,
    parameters: Object.fromEntries(facts.parameters),
    vcpus: facts.vcpuIds,
    tsc,
    hvmContextLength: facts.hvmContext?.length,
    emulator: emulator && { signature: emulator.signature, length: emulator.length },
    physmapEntries: physmap.length,
    losses: losses(target.format, layer, pv === undefined ? physmap.length : 0, emulator, facts.tmem),
    findings: report.findings,
  };
}

function losses(
  format: OutputFormat,
  layer: OutputFormat,
  physmapEntries: number,
  emulator: { readonly length: number } | undefined,
  tmem: readonly TmemPool[],
): string[] {
  const lost: string[] = [];
  const tmemPages = tmem.reduce((sum, pool) => sum + pool.pages, 0);
  if (tmem.length > 0)
    lost.push(`${tmem.length} tmem pools with ${tmemPages} pages: the new format has no place for them`);
  if (format === "libxc" && emulator !== undefined)
    lost.push(`QEMU's state (${emulator.length} bytes): libxc output has no record for it`);
  if (format === "libxc" && physmapEntries > 0)
    lost.push(`${physmapEntries} entries of QEMU's physmap: libxc output has no record for them`);
  if (format !== "xl" && layer === "xl") lost.push("the guest's configuration in the xl header");
  return lost;
}
