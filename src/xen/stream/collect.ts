import { type FindingPlace, formatError } from "../../findings/diagnostics.js";
import { describeError, FormatError } from "../../findings/errors.js";
import { describeRecord } from "../../findings/finding.js";
import type { Rule } from "../../findings/rule.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import { FIRST_PASS } from "../../guest/doubtful.js";
import type { LostPart, Rescue } from "../../guest/salvage.js";
import { PageMap } from "../../guest/page-map.js";
import type { ByteSource } from "../../io/byte-source.js";
import { beginsAsHvmContext, hvmContextWarnings } from "../hvm-context/check.js";
import { askWitnesses, type HeadFact, headFact, type Testimony } from "../../guest/head.js";
import type { ByteOrder } from "../../binary/layout.js";
import { xenGuest, type XenGuestParts } from "../domain.js";
import { hvmContextEntries } from "../hvm-context/entries.js";
import { DOMAIN_TYPE, IMAGE_VERSIONS, LIBXC_RECORD, OPTIONAL_TYPE, recordHeader } from "../libxc/layout.js";
import { LIBXC_RULES } from "../libxc/rules.js";
import { LIBXL_RECORD } from "../libxl/layout.js";
import { markLostPages } from "../lost-pages.js";
import { placeOf, type StreamRecord } from "../record.js";
import type { PvVcpuParts } from "../vcpu.js";
import type { StreamItem } from "./items.js";
import { isMachineState, MachineState } from "./machine-state.js";
import { StreamPages } from "./pages.js";
import { RecordWalk } from "./record-walk.js";
import { recordName, XenStream } from "./read.js";
import type { DamagedHead } from "./head.js";
import type { StreamSalvage } from "./salvage.js";
import { STREAM_RULES } from "./rules.js";

/** Reads a stream in order and keeps what its guest is made of. */
export class GuestCollector {
  readonly warnings: string[] = [];
  /** Offset after the last complete checkpoint; 0: none. */
  checkpoint = 0;
  /** Whether the headers are good, so that there is something to take. */
  began = false;
  readonly #input: ByteSource;
  readonly #options: OpenOptions;
  readonly #stopAt: number;
  readonly #head: DamagedHead | undefined;
  readonly #stream: XenStream;
  readonly #memory: PageMap;
  readonly #pages: StreamPages;
  #walk: RecordWalk | undefined;
  #config: string | undefined;
  #version = 0;
  #layers = "";
  #xen: string | undefined;
  #error: FormatError | undefined;
  #type: "HVM" | "PV" | undefined;
  /** Whether records were met that only version 3 has. */
  #hasStatics = false;
  #verifying = false;
  readonly #state = new MachineState((message) => this.#warn(message));

  /** Offset after the headers, and the byte order of the libxc layer. */
  firstRecord = 0;
  order: ByteOrder = "little";
  /** Whether a record of another type is a batch of pages. */
  hasUntyped = false;
  /** Whether bytes follow the stream's end that aren't of the protocol around it. */
  trailing: StreamItem | undefined;

  /**
   * @param stopAt take nothing after the checkpoint that ends here
   * @param head of a stream whose headers are damaged: where its records begin, and what is known
   * @param salvage what `input` is of a stream whose records are damaged
   */
  constructor(
    input: ByteSource,
    options: OpenOptions,
    stopAt: number,
    head?: DamagedHead,
    salvage?: StreamSalvage,
  ) {
    this.#input = input;
    this.#options = options;
    this.#stopAt = stopAt;
    this.#head = head;
    const diagnostics = {
      source: input.name,
      report: this.#problem,
      fatal: (rule: Rule, place: FindingPlace, message: string) => this.#refuse(rule, place, message),
    };
    this.#stream = new XenStream(input, diagnostics, head === undefined ? {} : { resume: head });
    if (head !== undefined) this.#takeHead(head);
    this.#memory = new PageMap(input);
    this.#pages = new StreamPages(this.#memory, input, options.partial === true, this.warnings, salvage);
  }

  /** What reading finds wrong: of a stream that ends early the last error is the reason, any other becomes a warning. */
  readonly #problem = (rule: Rule, place: FindingPlace, message: string): void => {
    if (rule.severity === "note") return;
    if (this.#error !== undefined) this.#warn(describeError(this.#error));
    this.#error = formatError(rule, this.#input.name, place, message);
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
        formatError(STREAM_RULES.truncated, this.#input.name, end, `the input ends before ${layer}'s END`)
      );
    }
    if (this.#error !== undefined) this.#warn(describeError(this.#error));
  }

  #takeHead({ outer, order, first, config, version, type, xen }: DamagedHead): void {
    this.#config = config;
    this.#layers = outer === "xl" ? "xl save file, libxl, " : outer === "libxl" ? "libxl, " : "";
    this.#version = version ?? 0;
    this.#type = type;
    this.#xen = xen;
    this.order = order;
    this.firstRecord = first;
    this.began = true;
  }

  /** Whether libxl is around libxc. */
  get isWrapped(): boolean {
    return this.#layers.includes("libxl");
  }

  /** The kind of guest that its records show. */
  get #shownType(): Testimony<"HVM" | "PV"> | undefined {
    const has = (type: "HVM" | "PV", seen: boolean): "HVM" | "PV" | undefined => (seen ? type : undefined);
    return askWitnesses<"HVM" | "PV">([
      { from: "HVM_CONTEXT", value: has("HVM", beginsAsHvmContext(this.#state.hvmContext)) },
      { from: "its vCPUs' records", value: has("PV", this.#state.vcpus.size > 0) },
      { from: "HVM_PARAMS", value: has("HVM", this.#state.hvmParams !== undefined) },
      { from: "SHARED_INFO", value: has("PV", this.#state.sharedInfo !== undefined) },
      { from: "X86_PV_P2M_FRAMES", value: has("PV", this.#state.p2mFrames !== undefined) },
      { from: "X86_PV_INFO", value: has("PV", this.#state.guestWidth !== undefined) },
      {
        from: "pages that are page tables",
        value: has(
          "PV",
          Object.keys(this.#pages.types).some((name) => /^L\dTAB/.test(name)),
        ),
      },
    ]);
  }

  /** Whether the records are of another kind of guest than the domain header says. */
  get isContradicted(): boolean {
    return this.#type !== undefined && (this.#shownType?.value ?? this.#type) !== this.#type;
  }

  /** What of a damaged head is known, after reading. */
  headFacts(): readonly HeadFact[] {
    if (this.#head === undefined) return [];
    const { config, hasDomain, outer, type, version } = this.#head;
    const shown = this.#shownType;
    const kind = shown?.value ?? type;
    const width = askWitnesses([
      { from: "X86_PV_INFO", value: this.#state.guestWidth },
      { from: "the length of its vCPUs' contexts", value: this.#state.contextWidth },
    ]);
    const statics = { from: "records that only version 3 has", value: this.#hasStatics ? 3 : undefined };
    return [
      ...(kind !== undefined && kind === type ? [] : [headFact("guest type", shown)]),
      ...(version === undefined ? [headFact("version of the stream", askWitnesses([statics]))] : []),
      ...(hasDomain ? [] : [headFact("version of Xen", undefined)]),
      ...(kind === "PV" && this.#state.guestWidth === undefined
        ? [headFact("size of the guest's words", width, (bytes) => `${bytes} bytes`)]
        : []),
      ...(outer === "xl" && config === undefined ? [headFact("domain's configuration", undefined)] : []),
    ];
  }

  #takeHeader(item: StreamItem): void {
    if (item.kind === "trailing" && !item.handshake) this.trailing = item;
    if (item.kind === "xl-header") {
      this.#config = item.config;
      this.#layers += "xl save file, ";
    } else if (item.kind === "libxl-header") {
      this.#layers += "libxl, ";
    } else if (item.kind === "image-header") {
      this.order = item.order;
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
      this.firstRecord = this.#stream.reader.position;
    }
  }

  #refuse(rule: Rule, place: FindingPlace, message: string): never {
    throw formatError(rule, this.#input.name, place, message);
  }

  /** Takes one record; true when nothing after it is wanted. */
  async #takeRecord(record: StreamRecord): Promise<boolean> {
    const { layer, type } = record;
    if (layer === "libxl") return type === LIBXL_RECORD.CHECKPOINT_END && this.#commit(record);
    this.#options.progress?.(record.offset, this.#input.size, "reading");
    if (this.#options.partial === true && !this.hasUntyped) await this.#lookForType(record);
    if (type === LIBXC_RECORD.PAGE_DATA) {
      // pages sent again for debugging are those already there
      if (!this.#verifying) await this.#takePages(record);
    } else if (STATICS.has(type)) {
      this.#hasStatics = true;
    } else if (isMachineState(type)) {
      this.#pages.noteState(record);
      await this.#state.take(record, this.#stream.body);
    } else if (type === LIBXC_RECORD.END) {
      this.#pages.noteState(record);
    } else if (type === LIBXC_RECORD.VERIFY) {
      this.#pages.noteState(record);
      this.#verifying = true;
    } else if (type === LIBXC_RECORD.CHECKPOINT) {
      // with libxl around it, the emulators' state is still to come
      return !this.#layers.includes("libxl") && this.#commit(record);
    } else if (recordName("libxc", type).startsWith("type") && type < OPTIONAL_TYPE) {
      const message = `${describeRecord(record.ref)} is unknown and mandatory`;
      if (this.#options.partial !== true)
        this.#refuse(LIBXC_RULES.unknownMandatory, placeOf(record), message);
      this.#warn(`${message}: skipped`);
    }
    return false;
  }

  /** A batch whose type is damaged would be skipped, or taken for state. */
  async #lookForType({ offset, type, length }: StreamRecord): Promise<void> {
    const next = offset + recordHeader.size + length;
    this.#walk ??= new RecordWalk(this.#input, this.order);
    this.hasUntyped = await this.#walk.isUntypedBatch(offset, {
      type,
      length,
      next,
    });
  }

  /** Notes a complete checkpoint; true when it is the last that is wanted. */
  #commit(record: StreamRecord): boolean {
    this.checkpoint = record.bodyOffset + record.length;
    return this.checkpoint >= this.#stopAt;
  }

  /** Takes a batch of pages. With `partial`, a malformed batch is skipped: the next record's offset is known. */
  async #takePages(record: StreamRecord): Promise<void> {
    try {
      await this.#pages.take(record, this.#stream.body);
    } catch (error) {
      if (!(error instanceof FormatError) || this.#options.partial !== true) throw error;
      this.#warn(`${describeError(error)}: it is left out`);
    }
  }

  /** What damage took: parts that are lost, damaged entries, what came last of memory; undefined: nothing. */
  rescue(lost: readonly LostPart[]): Rescue | undefined {
    const { left } = this.#pages;
    const head = this.headFacts();
    const isCut = !this.#stream.complete && this.#stopAt === Number.POSITIVE_INFINITY;
    const doubtful = this.#pages.doubtful(isCut);
    if (this.#pages.isFirstPassCut) this.#warn(FIRST_PASS);
    if (lost.length + left.length + head.length + doubtful.length === 0) return undefined;
    const bytes = lost.reduce((sum, { start, end }) => sum + end - start, 0);
    if (bytes > 0) markLostPages(this.#memory, bytes);
    return {
      lost: [...lost, ...left].sort((a, b) => a.start - b.start),
      doubtful,
      ...(head.length === 0 ? {} : { head }),
    };
  }

  #warn(message: string): void {
    if (this.warnings.length < 100) this.warnings.push(message);
  }

  async guest(): Promise<GuestImage> {
    const shown = this.#head === undefined ? undefined : this.#shownType?.value;
    const type = shown ?? this.#type;
    const isHvm = type !== "PV";
    const version = this.#version === 0 && this.#hasStatics ? 3 : this.#version;
    const { lost } = this.#pages;
    if (lost > 0) this.#warn(`${lost} pages are announced, but the stream ends before their contents`);
    if (isHvm && this.#state.hvmContext === undefined)
      this.#warn("no vCPU state: the stream has no HVM_CONTEXT");
    if (this.#state.hvmContext !== undefined)
      for (const line of await hvmContextWarnings(this.#input.name, this.#state.hvmContext)) this.#warn(line);
    if (!isHvm && this.#state.vcpus.size === 0) this.#warn("no vCPU state: the stream has no vCPU records");
    const vcpus = [...this.#state.vcpus].sort(([a], [b]) => a - b);
    const parts: XenGuestParts = {
      origin: `Xen migration stream (${this.#layers}libxc version ${version === 0 ? "unknown" : version})`,
      source: this.#input.name,
      hypervisor: this.#xen,
      type,
      guestWidth: isHvm ? undefined : (this.#state.guestWidth ?? this.#state.contextWidth ?? 8),
      memory: this.#memory,
      config: this.#config,
      tsc: this.#state.tsc,
      hvmContext:
        this.#state.hvmContext === undefined ? undefined : [...hvmContextEntries(this.#state.hvmContext)],
      hvmParams: isHvm ? this.#state.hvmParams : undefined,
      pvVcpus: isHvm
        ? undefined
        : vcpus.flatMap(([id, { context, ...rest }]): PvVcpuParts[] =>
            context === undefined ? [] : [{ id, context, ...rest }],
          ),
      p2mFrames: this.#state.p2mFrames,
      pageTypes: isHvm ? undefined : this.#pages.types,
      sharedInfo: this.#state.sharedInfo,
      warnings: this.warnings,
    };
    return xenGuest(parts, this.#options);
  }
}

/** Records that a stream of version 2 doesn't have. */
const STATICS: ReadonlySet<number> = new Set([
  LIBXC_RECORD.STATIC_DATA_END,
  LIBXC_RECORD.X86_CPUID_POLICY,
  LIBXC_RECORD.X86_MSR_POLICY,
]);
