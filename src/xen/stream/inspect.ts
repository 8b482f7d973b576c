import { type ByteOrder, latin1, viewOf } from "../../binary/layout.js";
import { type Finding, Report } from "../../findings/index.js";
import type { Inspection, OpenOptions } from "../../guest/input-format.js";
import type { PhysicalMemory } from "../../guest/memory.js";
import type { Vcpu } from "../../guest/vcpu.js";
import type { ByteSource, ByteStream } from "../../io/byte-source.js";
import { hvmContextEntries } from "../hvm-context/entries.js";
import { saveTypeName } from "../hvm-context/layout.js";
import { hvmParamName } from "../libxc/hvm-params.js";
import {
  cpuidPolicyEntry,
  DOMAIN_TYPE,
  hvmParam,
  hvmParamsHeader,
  LIBXC_RECORD,
  msrPolicyEntry,
  PAGE_TYPE_NAMES,
  pvInfo,
  TSC_MODES,
  tscInfo,
  VCPU_CONTEXT_SIZE,
  vcpuHeader,
} from "../libxc/layout.js";
import { PageEntries } from "../libxc/pages.js";
import { EMULATOR_NAMES, LIBXL_OPTIONS, LIBXL_RECORD, libxlEmulatorHeader } from "../libxl/layout.js";
import { type Layer, type RecordBody, type StreamItem, type StreamRecord, XenStream } from "./read.js";
import { PageTally } from "./tally.js";
import { pvRegisters } from "../../guest/pv-registers.js";
import { hvmVcpus } from "../vcpu.js";
import { summarizeConfig, type XlConfig } from "../xl/config.js";

/** Bodies of these records are small; of a larger one only the start is looked at. */
const BODY_LIMIT = 4 << 20;
const PAGE = 4096;

/** What a Xen migration stream is and holds. */
export interface XenStreamInspection extends Inspection {
  readonly kind: "xen-stream";
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
    readonly layer: "libxl" | "libxc";
    readonly type: string;
    readonly count: number;
    readonly bytes: number;
  }[];
  readonly tsc?: {
    readonly mode: string;
    readonly khz: number;
    readonly nsec: string;
    readonly incarnation: number;
  };
  readonly hvmParams?: Readonly<Record<string, bigint>>;
  readonly hvmContext?: readonly {
    readonly name: string;
    readonly instance: number;
    readonly length: number;
  }[];
  readonly vcpus: readonly Vcpu[];
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
  /** What kept the stream from being read to its END. */
  readonly damage: readonly string[];
}

/** Memory of nothing: descriptor tables of PV guests are not looked up here. */
const NO_MEMORY: PhysicalMemory = {
  ranges: () => [],
  read: () => 0,
  async *pieces() {},
};

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Reads a stream to its end and says what is in it; a damaged one as far as it can be read. */
export async function inspectXenStream(
  input: ByteSource | ByteStream,
  options: OpenOptions = {},
): Promise<XenStreamInspection> {
  const report = new Report(input.name);
  const stream = new XenStream(input, report);
  const collector = new Collector(stream);
  for await (const item of stream.items()) {
    options.progress?.(stream.reader.position, stream.reader.size, "");
    await collector.add(item);
  }
  return collector.document(
    stream.complete ? [] : report.findings.filter(({ severity }) => severity === "error"),
  );
}

class Collector {
  readonly #stream: XenStream;
  readonly #document: Pick<
    Mutable<XenStreamInspection>,
    "config" | "domain" | "tsc" | "hvmParams" | "hvmContext" | "emulatorXenstore" | "trailing"
  > = {};
  readonly #layers: Mutable<XenStreamInspection["layers"][number]>[] = [];
  readonly #records = new Map<string, Mutable<XenStreamInspection["records"][number]>>();
  readonly #emulators: XenStreamInspection["emulators"][number][] = [];
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

  document(damage: readonly Finding[]): XenStreamInspection {
    const { types, resent, mostSends } = this.#tally.totals();
    const runs = this.#tally.runs();
    return {
      schemaVersion: 1,
      kind: "xen-stream",
      source: this.#stream.name,
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
      vcpus: [...this.#vcpus.values()].sort((a, b) => a.id - b.id),
      emulators: this.#emulators,
      ...(this.#cpuidLeaves + this.#msrs === 0
        ? {}
        : { policies: { cpuidLeaves: this.#cpuidLeaves, msrs: this.#msrs } }),
      checkpoints: this.#checkpoints,
      damage: damage.map(({ message, offset }) => `at 0x${offset.toString(16)}: ${message}`),
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
    if (!(await body.need(libxlEmulatorHeader.size))) return;
    const { emulatorId, index } = libxlEmulatorHeader.read(body.view, body.at, body.order);
    body.take(libxlEmulatorHeader.size);
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
        if (!(await this.#entries.open(body))) return;
        while (await this.#entries.next()) this.#tally.add(this.#entries);
        return;
      case LIBXC_RECORD.CHECKPOINT:
        this.#checkpoints += 1;
        return;
      case LIBXC_RECORD.X86_CPUID_POLICY:
        this.#cpuidLeaves += Math.floor(record.length / cpuidPolicyEntry.size);
        return;
      case LIBXC_RECORD.X86_MSR_POLICY:
        this.#msrs += Math.floor(record.length / msrPolicyEntry.size);
        return;
      case LIBXC_RECORD.X86_PV_INFO:
        if (await body.need(pvInfo.size)) {
          const { guestWidth, ptLevels } = pvInfo.read(body.view, body.at, body.order);
          this.#document.domain = { type: "x86 PV", ...this.#document.domain, guestWidth, ptLevels };
        }
        return;
      case LIBXC_RECORD.X86_TSC_INFO:
        if (await body.need(tscInfo.size)) {
          const { mode, khz, nsec, incarnation } = tscInfo.read(body.view, body.at, body.order);
          const name = TSC_MODES[mode] ?? `mode ${mode}`;
          this.#document.tsc = { mode: name, khz, nsec: String(nsec), incarnation };
        }
        return;
      case LIBXC_RECORD.X86_PV_VCPU_BASIC:
        return this.#pvVcpu(body);
      case LIBXC_RECORD.HVM_PARAMS:
        return this.#hvmParams(body);
      case LIBXC_RECORD.HVM_CONTEXT:
        return this.#hvmContext(body);
      default:
    }
  }

  async #pvVcpu(body: RecordBody): Promise<void> {
    if (!(await body.need(vcpuHeader.size))) return;
    const { vcpuId } = vcpuHeader.read(body.view, body.at, body.order);
    body.take(vcpuHeader.size);
    const context = await body.rest(VCPU_CONTEXT_SIZE[8]);
    const sizes: readonly number[] = Object.values(VCPU_CONTEXT_SIZE);
    if (!sizes.includes(context.length) || body.order !== "little") return;
    this.#vcpus.set(vcpuId, { id: vcpuId, registers: await pvRegisters(context, NO_MEMORY) });
  }

  async #hvmParams(body: RecordBody): Promise<void> {
    const bytes = await body.rest(BODY_LIMIT);
    const little = body.order === "little";
    const params: Record<string, bigint> = {};
    const view = viewOf(bytes);
    for (let at = hvmParamsHeader.size; at + hvmParam.size <= bytes.length; at += hvmParam.size) {
      const index = view.getBigUint64(at, little);
      const name = index < 4096n ? hvmParamName(Number(index)) : undefined;
      params[name ?? `parameter ${index}`] = view.getBigUint64(at + hvmParam.offsetOf("value"), little);
    }
    this.#document.hvmParams = params;
  }

  async #hvmContext(body: RecordBody): Promise<void> {
    const entries = [...hvmContextEntries(await body.rest(BODY_LIMIT))];
    this.#document.hvmContext = entries.map((entry) => ({
      name: saveTypeName(entry.typecode),
      instance: entry.instance,
      length: entry.body.length,
    }));
    this.#vcpus.clear();
    for (const { raw: _areas, ...vcpu } of hvmVcpus(entries)) this.#vcpus.set(vcpu.id, vcpu);
  }
}
