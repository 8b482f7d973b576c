import { readU64, viewOf, type ByteOrder } from "../../binary/layout.js";
import { describeRecord, type Rule } from "../../findings/finding.js";
import { type FindingPlace, violation } from "../../findings/report.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/input-format.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import { PageMap } from "../../guest/page-map.js";
import type { ByteSource } from "../../io/byte-source.js";
import { describeError, FormatError } from "../../io/errors.js";
import { type TscFact, xenGuest } from "../domain.js";
import { hvmContextEntries } from "../hvm-context/entries.js";
import {
  DOMAIN_TYPE,
  hvmParam,
  hvmParamsHeader,
  IMAGE_VERSIONS,
  LIBXC_RECORD,
  MAX_BODY_LENGTH,
  OPTIONAL_TYPE,
  p2mFramesHeader,
  pageDataHeader,
  pvInfo,
  SHARED_INFO_SIZE,
  tscInfo,
  VCPU_CONTEXT_SIZE,
  vcpuHeader,
} from "../libxc/layout.js";
import { LIBXC_RULES } from "../libxc/rules.js";
import { LIBXL_RECORD } from "../libxl/layout.js";
import { placeOf, recordName, type StreamItem, type StreamRecord, XenStream } from "./read.js";
import { StreamPages } from "./pages.js";
import { STREAM_RULES } from "./rules.js";
import type { PvVcpuParts } from "../vcpu.js";

/**
 * The guest of a version 2 or 3 stream, whatever layers are around it. Contents of pages are found, not read.
 *
 * A stream of checkpoints (Remus) that breaks off stands as its last complete checkpoint left it. Any other
 * damage is an error, or with `partial` the end of what is taken, with a warning that says what is missing.
 */
export async function openStreamGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  const walk = new StreamWalk(input, options, Number.POSITIVE_INFINITY);
  try {
    await walk.run();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    if (walk.checkpoint > 0) {
      const again = new StreamWalk(input, options, walk.checkpoint);
      await again.run();
      again.warnings.push(`taken as of its last complete checkpoint: ${describeError(error)}`);
      return again.guest();
    }
    if (options.partial !== true || !walk.began) throw error;
    walk.warnings.push(`incomplete: ${describeError(error)}`);
  }
  return walk.guest();
}

/** Frames of a p2m table: more are no real guest's. */
const MOST_P2M_FRAMES = 1 << 20;

type VcpuArea = "context" | "extended" | "xsave" | "msrs";

class StreamWalk {
  readonly warnings: string[] = [];
  /** Offset behind the last complete checkpoint; 0: none. */
  checkpoint = 0;
  /** Whether the headers were good, so that there is something to take. */
  began = false;
  readonly #input: ByteSource;
  readonly #options: OpenOptions;
  readonly #stopAt: number;
  readonly #stream: XenStream;
  readonly #memory: PageMap;
  readonly #pages: StreamPages;
  #order: ByteOrder = "little";
  #config: string | undefined;
  #version = 0;
  #layers = "";
  #xen: string | undefined;
  #error: FormatError | undefined;
  #type: "HVM" | "PV" = "HVM";
  #verifying = false;
  #guestWidth: 4 | 8 | undefined;
  #p2mFrames: number[] | undefined;
  #sharedInfo: Uint8Array | undefined;
  #tsc: TscFact | undefined;
  #hvmContext: Uint8Array | undefined;
  #hvmParams: Map<number, bigint> | undefined;
  readonly #vcpus = new Map<number, Partial<Record<VcpuArea, Uint8Array>>>();

  /** @param stopAt take nothing behind the checkpoint that ends here */
  constructor(input: ByteSource, options: OpenOptions, stopAt: number) {
    this.#input = input;
    this.#options = options;
    this.#stopAt = stopAt;
    this.#stream = new XenStream(input, { add: this.#problem });
    this.#memory = new PageMap(input);
    this.#pages = new StreamPages(this.#memory, input.name, options.partial === true, this.warnings);
  }

  /** What reading finds wrong: of a stream that ends early the last error is the reason, any other is a doubt. */
  readonly #problem = (rule: Rule, place: FindingPlace, message: string): void => {
    if (rule.severity === "note") return;
    if (this.#error !== undefined) this.#doubt(describeError(this.#error));
    this.#error = violation(rule, this.#input.name, place, message);
  };

  async run(): Promise<void> {
    let layer = "";
    for await (const item of this.#stream.items()) {
      if (item.kind === "record") {
        layer = item.layer;
        if (await this.#takeRecord(item)) return;
      } else {
        this.#takeHeader(item);
      }
    }
    if (!this.#stream.complete) {
      const end = { offset: this.#input.size };
      throw (
        this.#error ??
        violation(STREAM_RULES.truncated, this.#input.name, end, `the input ends before ${layer}'s END`)
      );
    }
    if (this.#error !== undefined) this.#doubt(describeError(this.#error));
  }

  #takeHeader(item: StreamItem): void {
    if (item.kind === "xl-header") {
      this.#config = item.config;
      this.#layers += "xl save file, ";
    } else if (item.kind === "libxl-header") {
      this.#layers += "libxl, ";
    } else if (item.kind === "image-header") {
      this.#order = item.order;
      this.#version = item.header.version;
      if (!IMAGE_VERSIONS.includes(this.#version))
        this.#refuse(LIBXC_RULES.version, item, `version ${this.#version}, only 2 and 3 exist`);
    } else if (item.kind === "domain-header") {
      const { type, pageShift, xenMajor, xenMinor } = item.header;
      if (type !== DOMAIN_TYPE.x86Pv && type !== DOMAIN_TYPE.x86Hvm)
        this.#refuse(LIBXC_RULES.domainType, item, `guest of unknown type ${type}`);
      if (pageShift !== 12)
        this.#refuse(LIBXC_RULES.pageShift, item, `pages of 2^${pageShift} bytes, not 4096`);
      this.#type = type === DOMAIN_TYPE.x86Pv ? "PV" : "HVM";
      this.#xen = xenMajor === 0 ? undefined : `Xen ${xenMajor}.${xenMinor}`;
      this.began = true;
    }
  }

  #refuse(rule: Rule, place: FindingPlace, message: string): never {
    throw violation(rule, this.#input.name, place, message);
  }

  /** Takes one record; true when nothing behind it is wanted. */
  async #takeRecord(record: StreamRecord): Promise<boolean> {
    const { layer, type } = record;
    if (layer === "libxl") return type === LIBXL_RECORD.CHECKPOINT_END && this.#commit(record);
    this.#options.progress?.(record.offset, this.#input.size, "reading");
    if (type === LIBXC_RECORD.PAGE_DATA) {
      // pages sent again for debugging are those already there
      if (!this.#verifying) await this.#takePages(record);
    } else if (READ_WHOLE.has(type)) {
      const body = await this.#stream.body.rest(MAX_BODY_LENGTH);
      if (body.length === record.length) this.#takeBody(type, body, describeRecord(record.ref));
    } else if (type === LIBXC_RECORD.VERIFY) {
      this.#verifying = true;
    } else if (type === LIBXC_RECORD.CHECKPOINT) {
      // with libxl around it, the emulators' state is still to come
      return !this.#layers.includes("libxl") && this.#commit(record);
    } else if (recordName("libxc", type).startsWith("type") && type < OPTIONAL_TYPE) {
      const message = `${describeRecord(record.ref)} is unknown and mandatory`;
      if (this.#options.partial !== true)
        this.#refuse(LIBXC_RULES.unknownMandatory, placeOf(record), message);
      this.#doubt(`${message}: passed over`);
    }
    return false;
  }

  /** Notes a complete checkpoint; true when it is the last that is wanted. */
  #commit(record: StreamRecord): boolean {
    this.checkpoint = record.bodyOffset + record.length;
    return this.checkpoint >= this.#stopAt;
  }

  /** A batch of pages; with `partial` one that can't be is passed over, since the next record's place is known. */
  async #takePages(record: StreamRecord): Promise<void> {
    try {
      await this.#pageData(record);
    } catch (error) {
      if (!(error instanceof FormatError) || this.#options.partial !== true) throw error;
      this.#doubt(`${describeError(error)}: it is left out`);
    }
  }

  async #pageData(record: StreamRecord): Promise<void> {
    const { body } = this.#stream;
    const place = placeOf(record);
    if (record.length < pageDataHeader.size)
      this.#refuse(LIBXC_RULES.pageShort, place, `a body of ${record.length} bytes`);
    // what the input lacks of a record is told when the stream goes on from it
    if (!(await body.need(pageDataHeader.size))) return;
    const { count } = pageDataHeader.read(body.view, body.at, this.#order);
    body.take(pageDataHeader.size);
    const entries = count * 8;
    if (entries > body.remaining)
      this.#refuse(LIBXC_RULES.pageEntries, place, `${count} entries in a body of ${record.length} bytes`);
    const whole = body.need(entries);
    if (!(whole instanceof Promise ? await whole : whole)) return;
    const bytes = body.take(entries);
    const pages = this.#pages.take(bytes, this.#order, {
      offset: record.offset,
      record: describeRecord(record.ref),
      data: body.offset,
      end: this.#input.size,
    });
    if (pages * PAGE_SIZE !== body.remaining) {
      this.#pages.disbelieve(bytes, this.#order);
      const message = `${body.remaining} bytes of contents for ${pages} pages`;
      this.#refuse(LIBXC_RULES.pageLength, place, message);
    }
  }

  #takeBody(type: number, body: Uint8Array, name: string): void {
    const view = viewOf(body);
    const short = (size: number): boolean => {
      if (body.length >= size) return false;
      this.#doubt(`${name} is too short: left out`);
      return true;
    };
    switch (type) {
      case LIBXC_RECORD.X86_PV_INFO: {
        if (short(pvInfo.size)) return;
        const { guestWidth } = pvInfo.read(view, 0, this.#order);
        if (guestWidth === 4 || guestWidth === 8) this.#guestWidth = guestWidth;
        else this.#doubt(`${name}: guest of ${guestWidth}-byte words`);
        return;
      }
      case LIBXC_RECORD.X86_PV_P2M_FRAMES: {
        const count = Math.floor((body.length - p2mFramesHeader.size) / 8);
        if (count > MOST_P2M_FRAMES) return this.#doubt(`${name} lists ${count} frames: left out`);
        this.#p2mFrames = this.#frames(view, count, name);
        return;
      }
      case LIBXC_RECORD.SHARED_INFO:
        if (!short(SHARED_INFO_SIZE)) this.#sharedInfo = body.subarray(0, SHARED_INFO_SIZE);
        return;
      case LIBXC_RECORD.X86_TSC_INFO:
        if (!short(tscInfo.size)) this.#tsc = tscInfo.read(view, 0, this.#order);
        return;
      case LIBXC_RECORD.HVM_CONTEXT:
        this.#hvmContext = body;
        return;
      case LIBXC_RECORD.HVM_PARAMS: {
        if (short(hvmParamsHeader.size)) return;
        this.#hvmParams ??= new Map();
        for (let at = hvmParamsHeader.size; at + hvmParam.size <= body.length; at += hvmParam.size) {
          const index = view.getBigUint64(at, this.#order === "little");
          const value = view.getBigUint64(at + 8, this.#order === "little");
          if (index < 1024n) this.#hvmParams.set(Number(index), value);
          else this.#doubt(`${name}: parameter ${index} is none`);
        }
        return;
      }
      default:
        this.#takeVcpu(type, body, name);
    }
  }

  #frames(view: DataView, count: number, name: string): number[] {
    const frames: number[] = [];
    for (let i = 0; i < count; i += 1) {
      const at = p2mFramesHeader.size + i * 8;
      const high = view.getUint32(at + (this.#order === "little" ? 4 : 0), this.#order === "little");
      if (high < 0x100) frames.push(readU64(view, at, this.#order === "little"));
      else this.#doubt(`${name}: frame ${i} is beyond any machine's memory`);
    }
    return frames;
  }

  #takeVcpu(type: number, body: Uint8Array, name: string): void {
    const area = VCPU_AREAS.get(type);
    if (area === undefined) return;
    if (body.length < vcpuHeader.size) return this.#doubt(`${name} is too short: left out`);
    const { vcpuId } = vcpuHeader.read(viewOf(body), 0, this.#order);
    const content = body.subarray(vcpuHeader.size);
    const size = VCPU_CONTEXT_SIZE[this.#guestWidth ?? 8];
    if (area === "context" && content.length !== size)
      return this.#doubt(`${name}: context of ${content.length} bytes, not ${size}: left out`);
    const areas = this.#vcpus.get(vcpuId) ?? {};
    areas[area] = content;
    this.#vcpus.set(vcpuId, areas);
    return undefined;
  }

  #doubt(message: string): void {
    if (this.warnings.length < 100) this.warnings.push(message);
  }

  guest(): Promise<GuestImage> {
    const isHvm = this.#type === "HVM";
    const { lost } = this.#pages;
    if (lost > 0) this.#doubt(`${lost} pages are announced, but the stream ends before their contents`);
    if (isHvm && this.#hvmContext === undefined)
      this.#doubt("no processor state: the stream has no HVM_CONTEXT");
    if (!isHvm && this.#vcpus.size === 0) this.#doubt("no processor state: the stream has no vCPU records");
    const vcpus = [...this.#vcpus].sort(([a], [b]) => a - b);
    return xenGuest({
      origin: `Xen migration stream (${this.#layers}libxc version ${this.#version})`,
      source: this.#input.name,
      hypervisor: this.#xen,
      type: this.#type,
      guestWidth: isHvm ? undefined : (this.#guestWidth ?? 8),
      memory: this.#memory,
      config: this.#config,
      tsc: this.#tsc,
      hvmContext: this.#hvmContext === undefined ? undefined : [...hvmContextEntries(this.#hvmContext)],
      hvmParams: isHvm ? this.#hvmParams : undefined,
      pvVcpus: isHvm
        ? undefined
        : vcpus.flatMap(([id, { context, ...rest }]): PvVcpuParts[] =>
            context === undefined ? [] : [{ id, context, ...rest }],
          ),
      p2mFrames: this.#p2mFrames,
      pageTypes: isHvm ? undefined : this.#pages.types,
      sharedInfo: this.#sharedInfo,
      warnings: this.warnings,
    });
  }
}

const VCPU_AREAS: ReadonlyMap<number, VcpuArea> = new Map([
  [LIBXC_RECORD.X86_PV_VCPU_BASIC, "context"],
  [LIBXC_RECORD.X86_PV_VCPU_EXTENDED, "extended"],
  [LIBXC_RECORD.X86_PV_VCPU_XSAVE, "xsave"],
  [LIBXC_RECORD.X86_PV_VCPU_MSRS, "msrs"],
]);

/** Records whose bodies are state of the machine. */
const READ_WHOLE: ReadonlySet<number> = new Set([
  LIBXC_RECORD.X86_PV_INFO,
  LIBXC_RECORD.X86_PV_P2M_FRAMES,
  LIBXC_RECORD.SHARED_INFO,
  LIBXC_RECORD.X86_TSC_INFO,
  LIBXC_RECORD.HVM_CONTEXT,
  LIBXC_RECORD.HVM_PARAMS,
  ...VCPU_AREAS.keys(),
]);
