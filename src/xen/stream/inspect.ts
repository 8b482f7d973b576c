// over 350 lines: one fold of records into a document, a few lines for each kind of record
import { type ByteOrder, latin1 } from "../../binary/layout.js";
import { Report } from "../../findings/report.js";
import type { OpenOptions } from "../../guest/options.js";
import type { GuestInspection } from "../../guest/inspection.js";
import type { PhysicalMemory } from "../../guest/memory.js";
import { summarizeVcpu, type Vcpu, type VcpuSummary } from "../../guest/vcpu.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { hvmContextEntries } from "../hvm-context/entries.js";
import { saveTypeName } from "../hvm-context/layout.js";
import { labelHvmParams } from "../libxc/hvm-params.js";
import {
  cpuidPolicyEntry,
  DOMAIN_TYPE,
  LIBXC_RECORD,
  msrPolicyEntry,
  PAGE_TYPE_NAMES,
  pvInfo,
  VCPU_CONTEXT_SIZE,
  vcpuHeader,
} from "../libxc/layout.js";
import { PageEntries } from "../libxc/pages.js";
import {
  decodeVcpuRecord,
  readFields,
  readHvmParams,
  readTscInfo,
  summarizeTsc,
  type TscSummary,
} from "../libxc/records.js";
import { EMULATOR_NAMES, LIBXL_OPTIONS, LIBXL_RECORD, libxlEmulatorHeader } from "../libxl/layout.js";
import type { RecordBody, RecordLayer, StreamRecord } from "../record.js";
import { summarizeInput } from "../summary.js";
import { openStreamGuest } from "./guest.js";
import { findHead } from "./head.js";
import type { Layer, StreamItem } from "./items.js";
import { XenStream } from "./read.js";
import { PageTally } from "./tally.js";
import { pvRegisters } from "../../guest/pv-registers.js";
import { hvmVcpus } from "../vcpu.js";
import { summarizeConfig, type XlConfig } from "../xl/config.js";

/** Bodies of these records are small; of a larger one only the start is looked at. */
const BODY_LIMIT = 4 << 20;
const PAGE = 4096;

/** What `inspect` says of a Xen migration stream. */
export type XenStreamInspection = GuestInspection<"xen-stream", XenStreamDetails>;

/** What only a Xen migration stream has. */
export interface XenStreamDetails {
  /** From the outside in. */
  readonly layers: readonly {
    readonly layer: Layer;
    readonly offset: number;
    readonly order: ByteOrder;
    readonly version?: number;
    /** Made by the converter of legacy streams. */
    readonly converted?: boolean;
  }[];
  readonly config?: XlConfig;
  readonly domain?: {
    readonly type: string;
    /** `4.17`; undefined for a converted stream. */
    readonly xen?: string;
    readonly guestWidth?: number;
    readonly ptLevels?: number;
  };
  readonly memory: {
    /** pfns by the type of their last entry. */
    readonly types: Readonly<Record<string, number>>;
    readonly entries: number;
    /** Pages of contents sent in all, and bytes of those that count. */
    readonly sends: number;
    readonly bytes: number;
    readonly resent: { readonly pages: number; readonly mostSends: number };
    /** Guest-physical addresses of memory with contents, `end` exclusive. */
    readonly ranges: readonly { readonly start: number; readonly end: number }[];
    readonly exact: boolean;
  };
  /** In the order of first appearance. */
  readonly records: readonly {
    readonly layer: RecordLayer;
    readonly type: string;
    readonly count: number;
    readonly bytes: number;
  }[];
  readonly tsc?: TscSummary;
  readonly hvmParams?: Readonly<Record<string, bigint>>;
  readonly hvmContext?: readonly {
    readonly name: string;
    readonly instance: number;
    readonly length: number;
  }[];
  readonly emulators: readonly {
    readonly emulator: string;
    readonly index: number;
    /** Of the emulator's own state in the input. */
    readonly offset: number;
    readonly bytes: number;
  }[];
  readonly emulatorXenstore?: Readonly<Record<string, string>>;
  readonly policies?: { readonly cpuidLeaves: number; readonly msrs: number };
  readonly checkpoints: number;
  readonly trailing?: { readonly offset: number; readonly bytes: number; readonly handshake: boolean };
}

/** Memory of nothing: descriptor tables of PV guests are not looked up here. */
const NO_MEMORY: PhysicalMemory = {
  ranges: () => [],
  read: () => 0,
  async *pieces() {},
};

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * Describes a stream: its layers, records and guest. A damaged one is described as far as it can be read, with the
 * errors that keep it from being read to its END as `damage`. @throws SystemError
 */
export async function inspectXenStream(
  input: ByteSource | ByteStream,
  options: OpenOptions = {},
): Promise<XenStreamInspection> {
  const report = new Report(input.name);
  const read = async (stream: XenStream): Promise<DetailCollector> => {
    const found = new DetailCollector(stream);
    for await (const item of stream.items()) {
      options.progress?.(stream.reader.position, stream.reader.size, "");
      await found.add(item);
    }
    return found;
  };
  const stream = new XenStream(input, report);
  let collector = await read(stream);
  if (!collector.hasPages && isByteSource(input)) {
    const head = await findHead(input);
    if (head !== undefined) collector = await read(new XenStream(input, report, { resume: head }));
  }
  const details = collector.details();
  const summary = await summarizeInput(input, options, openStreamGuest);
  const { config, domain } = details;
  return {
    schemaVersion: 2,
    kind: "xen-stream",
    source: input.name,
    origin: summary?.origin ?? "Xen migration stream",
    guest: summary?.guest ?? {
      name: config?.name,
      uuid: config?.uuid,
      hypervisor: domain?.xen === undefined ? undefined : `Xen ${domain.xen}`,
      type: domain === undefined ? undefined : domain.type.replace("x86 ", ""),
    },
    memory: summary?.memory,
    vcpus: summary?.vcpus ?? collector.vcpus(),
    software: summary?.software,
    damage: stream.complete ? [] : report.findings.filter(({ severity }) => severity === "error"),
    warnings: summary?.warnings ?? [],
    details,
  };
}

/** Takes the items of a stream and keeps what an inspection says of them. */
class DetailCollector {
  readonly #stream: XenStream;
  readonly #document: Pick<
    Mutable<XenStreamDetails>,
    "config" | "domain" | "tsc" | "hvmParams" | "hvmContext" | "emulatorXenstore" | "trailing"
  > = {};
  readonly #layers: Mutable<XenStreamDetails["layers"][number]>[] = [];
  readonly #records = new Map<string, Mutable<XenStreamDetails["records"][number]>>();
  readonly #emulators: XenStreamDetails["emulators"][number][] = [];
  readonly #vcpus = new Map<number, Vcpu>();
  readonly #tally = new PageTally();
  readonly #entries = new PageEntries();
  #cpuidLeaves = 0;
  #msrs = 0;
  #checkpoints = 0;

  constructor(stream: XenStream) {
    this.#stream = stream;
  }

  async add(item: StreamItem): Promise<void> {
    const { offset } = item;
    switch (item.kind) {
      case "xl-header":
        this.#layers.push({ layer: "xl", offset, order: item.order });
        if (item.config !== undefined) this.#document.config = summarizeConfig(item.config);
        return;
      case "libxl-header": {
        const converted = (item.header.options & LIBXL_OPTIONS.legacy) !== 0;
        this.#layers.push({
          layer: "libxl",
          offset,
          order: item.order,
          version: item.header.version,
          ...(converted ? { converted } : {}),
        });
        return;
      }
      case "image-header":
        this.#layers.push({ layer: "libxc", offset, order: item.order, version: item.header.version });
        return;
      case "domain-header": {
        const { type, xenMajor, xenMinor } = item.header;
        const layer = this.#layers.at(-1);
        if (xenMajor === 0 && layer !== undefined) layer.converted = true;
        this.#document.domain = {
          type: { [DOMAIN_TYPE.x86Pv]: "x86 PV", [DOMAIN_TYPE.x86Hvm]: "x86 HVM" }[type] ?? `type ${type}`,
          ...(xenMajor === 0 ? {} : { xen: `${xenMajor}.${xenMinor}` }),
        };
        return;
      }
      case "trailing":
        this.#document.trailing = { offset, bytes: item.size, handshake: item.handshake };
        return;
      default:
        await this.#record(item, this.#stream.body);
    }
  }

  /** Whether records of memory were met. */
  get hasPages(): boolean {
    return this.#tally.entries > 0;
  }

  /** vCPUs by id, with the registers that their records hold. */
  vcpus(): VcpuSummary[] {
    return [...this.#vcpus.values()].sort((a, b) => a.id - b.id).map(summarizeVcpu);
  }

  details(): XenStreamDetails {
    const { types, resent, mostSends } = this.#tally.totals();
    const runs = this.#tally.runs();
    return {
      layers: this.#layers,
      ...this.#document,
      memory: {
        types: Object.fromEntries(
          types.flatMap((count, type) =>
            count === 0 ? [] : [[PAGE_TYPE_NAMES[type] ?? String(type), count]],
          ),
        ),
        entries: this.#tally.entries,
        sends: this.#tally.sends,
        bytes: runs.reduce((sum, { start, end }) => sum + (end - start) * PAGE, 0),
        resent: { pages: resent, mostSends },
        ranges: runs.map(({ start, end }) => ({ start: start * PAGE, end: end * PAGE })),
        exact: this.#tally.exact,
      },
      records: [...this.#records.values()],
      emulators: this.#emulators,
      ...(this.#cpuidLeaves + this.#msrs === 0
        ? {}
        : { policies: { cpuidLeaves: this.#cpuidLeaves, msrs: this.#msrs } }),
      checkpoints: this.#checkpoints,
    };
  }

  async #record(record: StreamRecord, body: RecordBody): Promise<void> {
    const { layer, length, ref } = record;
    const key = `${layer} ${ref.type}`;
    const row = this.#records.get(key) ?? { layer, type: ref.type, count: 0, bytes: 0 };
    row.count += 1;
    row.bytes += length;
    // a hostile stream can name four thousand million types
    if (this.#records.size < 1000 || this.#records.has(key)) this.#records.set(key, row);
    await (layer === "libxl" ? this.#libxl(record, body) : this.#libxc(record, body));
  }

  async #libxl({ type, length }: StreamRecord, body: RecordBody): Promise<void> {
    const isContext = type === LIBXL_RECORD.EMULATOR_CONTEXT;
    if (!isContext && type !== LIBXL_RECORD.EMULATOR_XENSTORE_DATA) return;
    const header = await readFields(body, libxlEmulatorHeader);
    if (header === undefined) return;
    const { emulatorId, index } = header;
    if (isContext) {
      const emulator = EMULATOR_NAMES[emulatorId] ?? `emulator ${emulatorId}`;
      const bytes = length - libxlEmulatorHeader.size;
      this.#emulators.push({ emulator, index, offset: body.offset, bytes });
      return;
    }
    const strings = latin1(await body.rest(BODY_LIMIT)).split("\0");
    const pairs = strings.flatMap((key, i) =>
      i % 2 === 0 && key !== "" ? [[key, strings[i + 1] ?? ""]] : [],
    );
    this.#document.emulatorXenstore = {
      ...this.#document.emulatorXenstore,
      ...(Object.fromEntries(pairs) as Record<string, string>),
    };
  }

  async #libxc(record: StreamRecord, body: RecordBody): Promise<void> {
    switch (record.type) {
      case LIBXC_RECORD.PAGE_DATA:
        return this.#pages(record, body);
      case LIBXC_RECORD.CHECKPOINT:
        this.#checkpoints += 1;
        return;
      case LIBXC_RECORD.X86_CPUID_POLICY:
        this.#cpuidLeaves += Math.floor(record.length / cpuidPolicyEntry.size);
        return;
      case LIBXC_RECORD.X86_MSR_POLICY:
        this.#msrs += Math.floor(record.length / msrPolicyEntry.size);
        return;
      case LIBXC_RECORD.X86_PV_INFO: {
        const info = await readFields(body, pvInfo);
        if (info === undefined) return;
        const { guestWidth, ptLevels } = info;
        this.#document.domain = { type: "x86 PV", ...this.#document.domain, guestWidth, ptLevels };
        return;
      }
      case LIBXC_RECORD.X86_TSC_INFO: {
        const tsc = await readTscInfo(body);
        if (tsc !== undefined) this.#document.tsc = summarizeTsc(tsc);
        return;
      }
      case LIBXC_RECORD.X86_PV_VCPU_BASIC:
        return this.#pvVcpu(body);
      case LIBXC_RECORD.HVM_PARAMS:
        return this.#hvmParams(body);
      case LIBXC_RECORD.HVM_CONTEXT:
        return this.#hvmContext(body);
      default:
    }
  }

  /** Counts the pages whose contents are there: the input may end among them. */
  async #pages({ bodyOffset, length }: StreamRecord, body: RecordBody): Promise<void> {
    const entries = this.#entries;
    if (!(await entries.open(body))) return;
    const { size = Infinity } = this.#stream.reader;
    const end = Math.min(size, bodyOffset + length);
    let before = 0;
    while (await entries.next()) {
      let bytes = end - entries.contentsOffset;
      const isLast = entries.first + entries.length === entries.count;
      // of a pipe it shows only once they are passed over
      if (isLast && size === Infinity) bytes = await body.skip(body.remaining);
      before += this.#tally.add(entries, Math.floor(bytes / PAGE) - before);
    }
  }

  async #pvVcpu(body: RecordBody): Promise<void> {
    const bytes = await body.rest(vcpuHeader.size + VCPU_CONTEXT_SIZE[8]);
    const vcpu = decodeVcpuRecord(bytes, body.order);
    const sizes: readonly number[] = Object.values(VCPU_CONTEXT_SIZE);
    if (vcpu === undefined || !sizes.includes(vcpu.state.length) || body.order !== "little") return;
    const registers = await pvRegisters(vcpu.state, NO_MEMORY);
    this.#vcpus.set(vcpu.vcpuId, { id: vcpu.vcpuId, registers });
  }

  async #hvmParams(body: RecordBody): Promise<void> {
    const found = await readHvmParams(body);
    if (found !== undefined) this.#document.hvmParams = labelHvmParams(found.params);
  }

  async #hvmContext(body: RecordBody): Promise<void> {
    const entries = [...hvmContextEntries(await body.rest(BODY_LIMIT))];
    this.#document.hvmContext = entries.map((entry) => ({
      name: saveTypeName(entry.typecode),
      instance: entry.instance,
      length: entry.body.length,
    }));
    this.#vcpus.clear();
    for (const vcpu of hvmVcpus(entries)) this.#vcpus.set(vcpu.id, vcpu);
  }
}
