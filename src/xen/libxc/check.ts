import type { RecordOf } from "../../binary/layout.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import type { Rule } from "../../findings/rule.js";
import { placeOf, type RecordBody, type StreamRecord } from "../record.js";
import { SAVE_TYPE } from "../hvm-context/layout.js";
import { BodyChecker, type GuestShape } from "./check-bodies.js";
import { PageChecker } from "./check-pages.js";
import {
  DOMAIN_TYPE,
  type domainHeader,
  type imageHeader,
  LIBXC_RECORD,
  type LibxcRecordName,
  OPTIONAL_TYPE,
} from "./layout.js";
import { LIBXC_RULES } from "./rules.js";

const R = LIBXC_RECORD;
const NAMES = new Map<number, LibxcRecordName>(
  Object.entries(R).map(([name, type]) => [type, name as LibxcRecordName]),
);

const PV_ONLY: ReadonlySet<number> = new Set([
  R.X86_PV_INFO,
  R.X86_PV_P2M_FRAMES,
  R.X86_PV_VCPU_BASIC,
  R.X86_PV_VCPU_EXTENDED,
  R.X86_PV_VCPU_XSAVE,
  R.X86_PV_VCPU_MSRS,
  R.SHARED_INFO,
]);
const HVM_ONLY: ReadonlySet<number> = new Set([R.HVM_CONTEXT, R.HVM_PARAMS]);
const VERSION_3: ReadonlySet<number> = new Set([R.STATIC_DATA_END, R.X86_CPUID_POLICY, R.X86_MSR_POLICY]);
/** Sent once in a stream. */
const ONCE: ReadonlySet<number> = new Set([
  R.X86_PV_INFO,
  R.X86_CPUID_POLICY,
  R.X86_MSR_POLICY,
  R.STATIC_DATA_END,
]);
/** Sent once for each consistent state. */
const ONCE_PER_CHECKPOINT: ReadonlySet<number> = new Set([
  R.X86_TSC_INFO,
  R.SHARED_INFO,
  R.HVM_CONTEXT,
  R.HVM_PARAMS,
]);
/** Memory and vCPU state: these come after STATIC_DATA_END in version 3. */
const DYNAMIC: ReadonlySet<number> = new Set([
  R.PAGE_DATA,
  R.X86_PV_P2M_FRAMES,
  R.X86_PV_VCPU_BASIC,
  R.X86_PV_VCPU_EXTENDED,
  R.X86_PV_VCPU_XSAVE,
  R.X86_PV_VCPU_MSRS,
  R.SHARED_INFO,
  R.X86_TSC_INFO,
  R.HVM_CONTEXT,
  R.HVM_PARAMS,
]);
/** Records that end the sending of memory. */
const STATE: ReadonlySet<number> = new Set([
  R.X86_PV_VCPU_BASIC,
  R.X86_PV_VCPU_EXTENDED,
  R.X86_PV_VCPU_XSAVE,
  R.X86_PV_VCPU_MSRS,
  R.SHARED_INFO,
  R.HVM_CONTEXT,
]);
const MANDATORY: Readonly<Record<"pv" | "hvm", readonly LibxcRecordName[]>> = {
  pv: ["X86_PV_INFO", "X86_PV_P2M_FRAMES", "SHARED_INFO", "X86_PV_VCPU_BASIC"],
  hvm: ["HVM_PARAMS", "HVM_CONTEXT"],
};

/**
 * Checks a libxc stream, record by record: bodies on their own, then the order and number of records.
 * A checkpoint closes one consistent state; vCPU state is sent again after it.
 */
export class LibxcChecker {
  readonly #diagnostics: Diagnostics;
  readonly #shape: GuestShape = {
    converted: false,
    width: undefined,
    lastPfn: undefined,
    hvmEntries: undefined,
    vcpus: new Map(),
  };
  readonly #pages: PageChecker;
  readonly #bodies: BodyChecker;
  #version = 0;
  #guest: "pv" | "hvm" | undefined;
  /** Types seen in the whole stream, and since the last checkpoint. */
  readonly #seen = new Set<number>();
  readonly #sinceCheckpoint = new Set<number>();
  #verifying = false;

  constructor(diagnostics: Diagnostics) {
    this.#diagnostics = diagnostics;
    this.#pages = new PageChecker(diagnostics);
    this.#bodies = new BodyChecker(diagnostics, this.#shape);
  }

  /** Kind of the guest as far as it has shown: a PVH guest has a local APIC, and no interrupt controller beside it. */
  get guest(): "pv" | "pvh" | "hvm" | undefined {
    const { hvmEntries } = this.#shape;
    const isPvh = hvmEntries?.has(SAVE_TYPE.LAPIC) === true && !hvmEntries.has(SAVE_TYPE.PIC);
    return this.#guest === "hvm" && isPvh ? "pvh" : this.#guest;
  }

  /** Notes the version that the image header announces. */
  image(header: RecordOf<typeof imageHeader>): void {
    this.#version = header.version;
  }

  /** Notes the guest type that the domain header announces. */
  domain(header: RecordOf<typeof domainHeader>): void {
    this.#shape.converted = header.xenMajor === 0;
    if (header.type === DOMAIN_TYPE.x86Pv) this.#guest = "pv";
    if (header.type === DOMAIN_TYPE.x86Hvm) this.#guest = "hvm";
  }

  async check(record: StreamRecord, body: RecordBody): Promise<void> {
    const { type } = record;
    if (!NAMES.has(type)) {
      if (type < OPTIONAL_TYPE)
        this.#add(LIBXC_RULES.unknownMandatory, record, `${record.ref.type} is not defined`);
      else
        this.#add(LIBXC_RULES.unknownOptional, record, `optional ${record.ref.type}, ${record.length} bytes`);
      return;
    }
    this.#checkPlace(record);
    if (type === R.PAGE_DATA) {
      await this.#pages.check(record, body, { guest: this.#guest, lastPfn: this.#shape.lastPfn });
    } else {
      await this.#bodies.check(record, body);
    }
    this.#seen.add(type);
    this.#sinceCheckpoint.add(type);
    if (type === R.VERIFY) this.#verifying = true;
    if (type === R.CHECKPOINT) this.#consistent(record, "before this CHECKPOINT");
    if (type === R.END && !this.#idleSinceCheckpoint()) this.#consistent(record, "in the whole stream");
  }

  #add(rule: Rule, record: StreamRecord, message: string): void {
    this.#diagnostics.report(rule, placeOf(record), message);
  }

  #checkPlace(record: StreamRecord): void {
    const { type } = record;
    if (this.#guest === "hvm" && PV_ONLY.has(type))
      this.#add(LIBXC_RULES.foreignPv, record, "the guest is HVM");
    if (this.#guest === "pv" && HVM_ONLY.has(type))
      this.#add(LIBXC_RULES.foreignHvm, record, "the guest is PV");
    const repeated =
      (ONCE.has(type) && this.#seen.has(type)) ||
      (ONCE_PER_CHECKPOINT.has(type) && this.#sinceCheckpoint.has(type)) ||
      (type === R.X86_PV_P2M_FRAMES && this.#sinceCheckpoint.has(type));
    if (repeated) this.#add(LIBXC_RULES.repeated, record, `a second ${record.ref.type}`);
    if (VERSION_3.has(type) && this.#version === 2) {
      this.#add(LIBXC_RULES.versionThree, record, `${record.ref.type} in a stream of version 2`);
    }
    if (this.#version === 3) this.#checkStatic(record);
    if (this.#guest === "pv") this.#checkPvOrder(record);
    if (type === R.HVM_PARAMS && this.#sinceCheckpoint.has(R.HVM_CONTEXT)) {
      this.#add(LIBXC_RULES.paramsOrder, record, "HVM_PARAMS come after HVM_CONTEXT, as Xen writes them");
    }
    if (
      type === R.PAGE_DATA &&
      !this.#verifying &&
      [...STATE].some((state) => this.#sinceCheckpoint.has(state))
    ) {
      this.#add(LIBXC_RULES.memoryAfterState, record, "pages after the vCPU state");
    }
  }

  #checkStatic(record: StreamRecord): void {
    const { type } = record;
    const ended = this.#seen.has(R.STATIC_DATA_END);
    if (DYNAMIC.has(type) && !ended && !this.#seen.has(type)) {
      this.#add(LIBXC_RULES.order, record, `${record.ref.type} comes before STATIC_DATA_END`);
    }
    const isStatic = type === R.X86_CPUID_POLICY || type === R.X86_MSR_POLICY || type === R.X86_PV_INFO;
    if (isStatic && ended) {
      this.#add(LIBXC_RULES.order, record, `${record.ref.type} comes after STATIC_DATA_END`);
    }
  }

  #checkPvOrder(record: StreamRecord): void {
    const { type } = record;
    const needs = (before: LibxcRecordName): void => {
      if (!this.#seen.has(R[before]) && !this.#seen.has(type)) {
        this.#add(LIBXC_RULES.order, record, `${record.ref.type} comes before ${before}`);
      }
    };
    if (type === R.X86_PV_P2M_FRAMES || VERSION_3.has(type)) needs("X86_PV_INFO");
    if (type === R.PAGE_DATA) needs("X86_PV_P2M_FRAMES");
    if (type === R.X86_PV_VCPU_BASIC) needs("X86_PV_P2M_FRAMES");
  }

  /** Whether nothing but END came since a checkpoint: a stream may end there, and nothing is missing. */
  #idleSinceCheckpoint(): boolean {
    const since = [...this.#sinceCheckpoint].filter((type) => type !== R.END);
    return since.length === 0 && this.#seen.has(R.CHECKPOINT);
  }

  /** At a checkpoint or the end, everything a restore needs must have come. */
  #consistent(record: StreamRecord, where: string): void {
    const missing = (name: LibxcRecordName): void => {
      this.#add(LIBXC_RULES.missing, record, `no ${name} ${where}`);
    };
    const perState = new Set<number>([R.SHARED_INFO, R.X86_PV_VCPU_BASIC, R.HVM_PARAMS, R.HVM_CONTEXT]);
    for (const name of this.#guest === undefined ? [] : MANDATORY[this.#guest]) {
      const seen = perState.has(R[name]) ? this.#sinceCheckpoint : this.#seen;
      if (!seen.has(R[name])) missing(name);
    }
    if (this.#version === 3 && !this.#seen.has(R.STATIC_DATA_END)) missing("STATIC_DATA_END");
    if (!this.#seen.has(R.PAGE_DATA)) this.#add(LIBXC_RULES.noMemory, record, `no PAGE_DATA ${where}`);
    for (const [vcpu, types] of this.#shape.vcpus) {
      if (!types.has(R.X86_PV_VCPU_BASIC)) {
        this.#add(LIBXC_RULES.vcpuNoBasic, record, `vCPU ${vcpu} has no X86_PV_VCPU_BASIC record`);
      }
    }
    this.#sinceCheckpoint.clear();
    this.#shape.vcpus.clear();
    this.#verifying = false;
  }
}
