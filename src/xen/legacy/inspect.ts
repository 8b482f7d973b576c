import type { Report } from "../../findings/report.js";
import type { Inspection } from "../../guest/input-format.js";
import type { ByteSource, ByteStream } from "../../io/byte-source.js";
import { FormatError } from "../../io/errors.js";
import { latin1 } from "../../binary/layout.js";
import type { PhysicalMemory } from "../../guest/memory.js";
import type { Vcpu } from "../../guest/vcpu.js";
import { hvmContextEntries } from "../hvm-context/entries.js";
import { saveTypeName } from "../hvm-context/layout.js";
import { hvmParamName } from "../libxc/hvm-params.js";
import { PAGE_TYPE_NAMES, TSC_MODES } from "../libxc/layout.js";
import { pvRegisters } from "../../guest/pv-registers.js";
import { hvmVcpus } from "../vcpu.js";
import { summarizeConfig, type XlConfig } from "../xl/config.js";
import type { HeaderChunk, LegacyChunk, PvInfoChunk, XlHeaderChunk } from "./chunks.js";
import { type CodedGroup, CompressedPages, SenderCache } from "./compression.js";
import { checkFrames, checkIoreqServer, reportTmem, reportTrailing, setParameter } from "./checks.js";
import { countEntries, type EntryCounts, noEntries } from "./entry-counts.js";
import { configText } from "./header.js";
import { type GuestKind, hasData, TAIL_PARAMETER, type ToolstackWidth, TYPE } from "./layout.js";
import { PageIndex } from "./page-index.js";
import type { PfnSet } from "./pfn-set.js";
import { LegacyReader } from "./read.js";
import { RULE_OF, RULES } from "./rules.js";
import type { TmemPool } from "./tmem.js";

/** What a legacy stream holds, as `inspect` tells it. */
export interface LegacyInspection extends Inspection {
  readonly kind: "xen-legacy";
  /** Outermost layer. */
  readonly layer: "libxc" | "libxl" | "xl";
  readonly width: ToolstackWidth;
  readonly guest: GuestKind;
  /** Bytes of a PV guest's word. */
  readonly guestWidth: number | undefined;
  readonly p2mSize: number;
  /** The guest's configuration from an xl header. */
  readonly config: XlConfig | undefined;
  readonly entries: EntryCounts;
  /** Final pages by type; what the guest had given back is left out. */
  readonly pages: Readonly<Record<string, number>>;
  readonly unmapped: number;
  readonly checkpoints: { readonly complete: number; readonly begun: number; readonly marked: boolean };
  readonly compression: boolean;
  readonly verifyPass: boolean;
  readonly live: boolean;
  readonly tsc: { mode: string; khz: number; nsec: string; incarnation: number } | undefined;
  readonly hvmParams: Readonly<Record<string, bigint>>;
  readonly hvmContext: readonly { name: string; instance: number; length: number }[] | undefined;
  /** vCPUs that are online, with what is known of their registers. */
  readonly vcpus: readonly Vcpu[];
  readonly physmap: readonly {
    physOffset: bigint;
    startAddr: bigint;
    size: bigint;
    name: string | undefined;
  }[];
  readonly emulator: { readonly signature: string; readonly length: number | undefined } | undefined;
  readonly tmem: readonly TmemPool[];
  /** Bytes up to the end of the last complete checkpoint. */
  readonly bytes: number;
  /** What kept the stream from being read to its end; the rest of this document is what came before. */
  readonly damage: readonly string[];
}

interface Facts {
  tsc: LegacyInspection["tsc"];
  parameters: Map<number, bigint>;
  hvmContext: Uint8Array | undefined;
  vcpuIds: readonly number[];
  pvVcpus: Vcpu[];
  physmap: LegacyInspection["physmap"];
  toolstack: boolean;
  emulator: LegacyInspection["emulator"];
  unmapped: PfnSet | undefined;
}

/** A context is a few KiB a vCPU. */
const CONTEXT_LIMIT = 4 << 20;

/** Descriptor tables of PV guests are not looked up here. */
const NO_MEMORY: PhysicalMemory = {
  ranges: () => [],
  read: () => 0,
  async *pieces() {},
};

/** Goes over a stream's structure without its contents: their place is enough, only compressed ones are decoded in part. */
class Survey {
  readonly #report: Report;
  readonly #reader: LegacyReader;
  readonly #index = new PageIndex();
  readonly #coded = new CompressedPages();
  readonly #senderCache = new SenderCache();
  readonly #entries = noEntries();
  #xlHeader: XlHeaderChunk | undefined;
  #header: HeaderChunk | undefined;
  #pv: PvInfoChunk | undefined;
  #facts: Facts = {
    tsc: undefined,
    parameters: new Map(),
    hvmContext: undefined,
    vcpuIds: [],
    pvVcpus: [],
    physmap: [],
    toolstack: false,
    emulator: undefined,
    unmapped: undefined,
  };
  #complete: Facts | undefined;
  #checkpoints = 0;
  #begun = false;
  #marked = false;
  #compression = false;
  #verifyPass = false;
  #live = false;
  #tmem: readonly TmemPool[] = [];
  #end = 0;

  constructor(input: ByteSource | ByteStream, report: Report) {
    this.#report = report;
    this.#reader = new LegacyReader(input, {
      onProblem: (rule, place, message) => report.add(rule, place, message),
    });
  }

  async run(progress?: (done: number, total: number | undefined) => void): Promise<string | undefined> {
    const { cursor } = this.#reader;
    let damage: string | undefined;
    try {
      for await (const chunk of this.#reader.chunks()) {
        await this.#take(chunk);
        progress?.(cursor.position, cursor.reader.size);
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      damage = this.#unreadable(error);
    }
    if (this.#checkpoints > 0) this.#closing(damage === undefined);
    return damage;
  }

  /** Where reading ends: an error before the first complete checkpoint, a warning behind one. */
  #unreadable(error: FormatError): string | undefined {
    const { cursor } = this.#reader;
    const place = { offset: error.place.offset ?? cursor.position, record: cursor.chunk };
    if (this.#checkpoints === 0) {
      this.#report.add(RULE_OF.get(error.code) ?? RULES.truncated, place, error.message);
      return error.message;
    }
    this.#index.rollback();
    const message = `what follows checkpoint ${this.#checkpoints} is incomplete: ${error.message}`;
    this.#report.add(RULES.incompleteCheckpoint, place, message);
    return undefined;
  }

  /** What only shows in the end. */
  #closing(whole: boolean): void {
    const { cursor } = this.#reader;
    const facts = this.#complete ?? this.#facts;
    checkIoreqServer(cursor, facts.parameters, this.#end);
    reportTmem(cursor, this.#tmem);
    if (whole) reportTrailing(cursor, this.#end);
    if (this.#pv !== undefined) checkFrames(cursor, this.#pv, this.#index, facts.unmapped);
  }

  async #take(chunk: LegacyChunk): Promise<void> {
    const facts = this.#facts;
    if (chunk.kind === "xl-header") this.#xlHeader = chunk;
    else if (chunk.kind === "header") this.#header = chunk;
    else if (chunk.kind === "pv-info") this.#pv = chunk;
    else if (chunk.kind === "checkpoint") this.#commit(chunk.offset);
    else this.#begun = true;
    switch (chunk.kind) {
      case "pages":
        countEntries(this.#entries, chunk);
        if (this.#facts.tsc === undefined) this.#live = true;
        if (chunk.verify) return;
        for (const entry of chunk.entries) {
          const type = entry >>> 28;
          if (type === TYPE.invalid) continue;
          this.#index.setType(entry & 0x0fffffff, type);
          if (!hasData(type)) continue;
          if (chunk.compressed) this.#coded.announce(entry);
          this.#index.setCopy(entry & 0x0fffffff, false, 0);
        }
        return;
      case "compressed-data":
        await this.#coded.read(this.#reader.cursor, chunk.dataLength, {
          group: (group) => this.#group(group),
        });
        return;
      case "end-of-body":
        this.#coded.finish(this.#reader.cursor);
        facts.vcpuIds = chunk.vcpus;
        facts.pvVcpus = [];
        return;
      case "parameter":
        setParameter(facts.parameters, chunk.parameter, chunk.value);
        return;
      case "tsc-info": {
        const { mode, khz, nsec, incarnation } = chunk;
        facts.tsc = { mode: TSC_MODES[mode] ?? `mode ${mode}`, khz, nsec: String(nsec), incarnation };
        return;
      }
      case "toolstack":
        facts.toolstack = true;
        facts.physmap = chunk.physmap.map((entry) => ({
          ...entry,
          name: entry.name === undefined ? undefined : latin1(entry.name),
        }));
        return;
      case "tmem":
        this.#tmem = chunk.pools;
        return;
      case "verify-mode":
        this.#verifyPass = true;
        return;
      case "last-checkpoint":
        this.#marked = true;
        return;
      case "enable-compression":
        this.#compression = true;
        return;
      case "hvm-tail":
        setParameter(facts.parameters, TAIL_PARAMETER.ioreqPfn, chunk.ioreqPfn);
        setParameter(facts.parameters, TAIL_PARAMETER.bufferedIoreqPfn, chunk.bufferedIoreqPfn);
        setParameter(facts.parameters, TAIL_PARAMETER.storePfn, chunk.storePfn);
        if (chunk.dataLength > CONTEXT_LIMIT) return;
        facts.hvmContext = await this.#reader.cursor.bytes(chunk.dataLength, "HVM context");
        return;
      case "vcpu":
        facts.pvVcpus.push({ id: chunk.id, registers: await pvRegisters(chunk.context.slice(), NO_MEMORY) });
        return;
      case "qemu":
        facts.emulator = { signature: chunk.signature, length: chunk.dataLength };
        return;
      case "unmapped":
        facts.unmapped = chunk.pfns;
        return;
      default:
        return;
    }
  }

  #commit(end: number): void {
    this.#index.commit(() => {});
    this.#complete = this.#facts;
    this.#facts = { ...this.#facts, parameters: new Map(this.#facts.parameters) };
    this.#checkpoints += 1;
    this.#begun = false;
    this.#end = end;
  }

  #group(group: CodedGroup): Promise<void> {
    for (let i = 0; i < group.count; i += 1) {
      const entry = group.entries[i] ?? 0;
      const at = group.at[i] ?? 0;
      if (!this.#senderCache.sent(entry, group.coded[at] ?? 0)) continue;
      const message = `pfn 0x${(entry & 0x0fffffff).toString(16)} is coded as a difference although the sender had no base for it`;
      this.#reader.cursor.problem(RULES.senderDefect, group.offset + at, message);
    }
    return Promise.resolve();
  }

  /** The document; undefined when not even the header could be read. */
  document(damage: string | undefined): LegacyInspection | undefined {
    const header = this.#header;
    if (header === undefined) return undefined;
    const facts = this.#complete ?? this.#facts;
    const pages: Record<string, number> = {};
    for (let pfn = this.#index.next(0); pfn !== undefined; pfn = this.#index.next(pfn + 1)) {
      const type = this.#index.type(pfn);
      if (type === undefined || facts.unmapped?.has(pfn) === true) continue;
      const name = PAGE_TYPE_NAMES[type] ?? String(type);
      pages[name] = (pages[name] ?? 0) + 1;
    }
    const entries = [...hvmContextEntries(facts.hvmContext ?? new Uint8Array(0))];
    const isLibxl = facts.toolstack || facts.emulator !== undefined;
    return {
      schemaVersion: 1,
      kind: "xen-legacy",
      source: this.#report.source,
      layer: this.#xlHeader === undefined ? (isLibxl ? "libxl" : "libxc") : "xl",
      width: header.width,
      guest: header.guest,
      guestWidth: this.#pv?.guestWidth,
      p2mSize: header.p2mSize,
      config: this.#xlHeader === undefined ? undefined : configOf(this.#xlHeader),
      entries: this.#entries,
      pages,
      unmapped: facts.unmapped?.size ?? 0,
      checkpoints: {
        complete: this.#checkpoints,
        begun: this.#checkpoints + (this.#begun ? 1 : 0),
        marked: this.#marked,
      },
      compression: this.#compression,
      verifyPass: this.#verifyPass,
      live: this.#live,
      tsc: facts.tsc,
      hvmParams: Object.fromEntries(
        Array.from(facts.parameters, ([index, value]) => [
          hvmParamName(index) ?? `parameter ${index}`,
          value,
        ]),
      ),
      hvmContext:
        facts.hvmContext &&
        entries.map(({ typecode, instance, body }) => ({
          name: saveTypeName(typecode),
          instance,
          length: body.length,
        })),
      vcpus:
        header.guest === "pv" ? facts.pvVcpus : hvmVcpus(entries).map(({ raw: _areas, ...vcpu }) => vcpu),
      physmap: facts.physmap,
      emulator: facts.emulator,
      tmem: this.#tmem,
      bytes: this.#end,
      damage: damage === undefined ? [] : [damage],
    };
  }
}

/** What an xl header says of the guest's configuration. */
function configOf({ bytes }: XlHeaderChunk): XlConfig | undefined {
  const text = configText(bytes);
  return text === undefined ? undefined : summarizeConfig(text);
}

/** Adds to `report` what is wrong with a legacy stream. */
export async function verifyLegacy(
  input: ByteSource | ByteStream,
  report: Report,
  progress?: (done: number, total: number | undefined) => void,
): Promise<void> {
  await new Survey(input, report).run(progress);
}

/** Tells what a legacy stream holds. @throws FormatError when not even its header can be read */
export async function inspectLegacy(
  input: ByteSource | ByteStream,
  report: Report,
  progress?: (done: number, total: number | undefined) => void,
): Promise<LegacyInspection> {
  const survey = new Survey(input, report);
  const damage = await survey.run(progress);
  const document = survey.document(damage);
  if (document !== undefined) return document;
  throw new FormatError(report.findings[0]?.code ?? RULES.notLegacy.code, damage ?? "no legacy stream", {
    source: input.name,
    offset: report.findings[0]?.offset ?? 0,
  });
}
