import type { ByteOrder } from "../../binary/layout.js";
import type { Rule } from "../../findings/finding.js";
import { checkHvmContext } from "../hvm-context/check.js";
import type { Problems, RecordBody, StreamRecord } from "../stream/read.js";
import { hvmParamName } from "./hvm-params.js";
import {
  cpuidPolicyEntry,
  hvmParam,
  hvmParamsHeader,
  LIBXC_RECORD,
  MAX_VCPUS,
  msrPolicyEntry,
  p2mFramesHeader,
  pvInfo,
  SHARED_INFO_SIZE,
  TSC_MODES,
  tscInfo,
  VCPU_CONTEXT_SIZE,
  vcpuHeader,
  vcpuMsr,
  xsaveHeader,
} from "./layout.js";
import { LIBXC_RULES } from "./rules.js";

/** What bodies say of the guest that later records are held against. */
export interface GuestShape {
  /** A converter made the stream from a legacy one. */
  converted: boolean;
  /** Bytes of a PV guest's word, once X86_PV_INFO said it. */
  width: 4 | 8 | undefined;
  /** Last pfn of a PV guest, once X86_PV_P2M_FRAMES said it. */
  lastPfn: number | undefined;
  /** vCPU record types seen, by vCPU. */
  readonly vcpus: Map<number, Set<number>>;
}

/** Bytes of fixed-size entries looked at together. */
const PIECE = 64 << 10;
const MIN_XSAVE_AREA = 576;
/** Indexes from here on are of no parameter; they aren't remembered. */
const PARAM_LIMIT = 4096n;
const EXTENDED_SIZES: readonly number[] = [64, 128];

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** Checks the bodies of all libxc records but PAGE_DATA. */
export class BodyChecker {
  readonly #problems: Problems;
  readonly #shape: GuestShape;
  #record: StreamRecord | undefined;

  constructor(problems: Problems, shape: GuestShape) {
    this.#problems = problems;
    this.#shape = shape;
  }

  async check(record: StreamRecord, body: RecordBody): Promise<void> {
    this.#record = record;
    switch (record.type) {
      case LIBXC_RECORD.END:
      case LIBXC_RECORD.VERIFY:
      case LIBXC_RECORD.CHECKPOINT:
      case LIBXC_RECORD.STATIC_DATA_END:
        if (record.length > 0) this.#add(LIBXC_RULES.notEmpty, `body of ${record.length} bytes`);
        return;
      case LIBXC_RECORD.X86_PV_INFO:
        return this.#pvInfo(body);
      case LIBXC_RECORD.X86_PV_P2M_FRAMES:
        return this.#p2mFrames(body);
      case LIBXC_RECORD.X86_PV_VCPU_BASIC:
      case LIBXC_RECORD.X86_PV_VCPU_EXTENDED:
      case LIBXC_RECORD.X86_PV_VCPU_XSAVE:
      case LIBXC_RECORD.X86_PV_VCPU_MSRS:
        return this.#vcpu(record.type, body);
      case LIBXC_RECORD.SHARED_INFO:
        this.#exactly(SHARED_INFO_SIZE);
        return;
      case LIBXC_RECORD.X86_TSC_INFO:
        return this.#tscInfo(body);
      case LIBXC_RECORD.HVM_CONTEXT:
        return checkHvmContext(this.#problems, record, body);
      case LIBXC_RECORD.HVM_PARAMS:
        return this.#hvmParams(body);
      case LIBXC_RECORD.X86_CPUID_POLICY:
        this.#whole(cpuidPolicyEntry.size);
        return;
      case LIBXC_RECORD.X86_MSR_POLICY:
        return this.#msrPolicy(body);
      case LIBXC_RECORD.TOOLSTACK:
        this.#add(LIBXC_RULES.toolstack, "a record of the 2014 draft");
        return;
      case LIBXC_RECORD.CHECKPOINT_DIRTY_PFN_LIST:
        this.#add(LIBXC_RULES.dirtyList, "a record of the back channel");
        return;
      default:
    }
  }

  /** @param at bytes into the body, where one place is meant */
  #add(rule: Rule, message: string, at?: number): void {
    const record = this.#record;
    if (record === undefined) return;
    const offset = at === undefined ? record.offset : record.bodyOffset + at;
    this.#problems.add(rule, { offset, record: record.ref }, message);
  }

  get #length(): number {
    return this.#record?.length ?? 0;
  }

  #exactly(size: number): boolean {
    if (this.#length === size) return true;
    this.#add(LIBXC_RULES.length, `body of ${this.#length} bytes, not ${size}`);
    return false;
  }

  #atLeast(size: number): boolean {
    if (this.#length >= size) return true;
    this.#add(LIBXC_RULES.length, `body of ${this.#length} bytes, at least ${size} are needed`);
    return false;
  }

  /** One or more entries of `size`. */
  #whole(size: number): boolean {
    if (this.#length > 0 && this.#length % size === 0) return true;
    this.#add(LIBXC_RULES.length, `body of ${this.#length} bytes, not one or more times ${size}`);
    return false;
  }

  #reserved(value: number, at: number, field = "reserved field"): void {
    if (value !== 0) this.#add(LIBXC_RULES.reserved, `${field} holds ${hex(value)}`, at);
  }

  async #pvInfo(body: RecordBody): Promise<void> {
    if (!this.#exactly(pvInfo.size) || !(await body.need(pvInfo.size))) return;
    const { guestWidth, ptLevels, reserved1, reserved2 } = pvInfo.read(body.view, body.at, body.order);
    if (guestWidth === 4 || guestWidth === 8) {
      this.#shape.width = guestWidth;
      const levels = guestWidth === 4 ? 3 : 4;
      if (ptLevels !== levels) {
        this.#add(
          LIBXC_RULES.pvLevels,
          `${ptLevels} levels with words of ${guestWidth} bytes, not ${levels}`,
          1,
        );
      }
    } else {
      this.#add(LIBXC_RULES.pvWidth, `words of ${guestWidth} bytes`, 0);
      if (ptLevels !== 3 && ptLevels !== 4) {
        this.#add(LIBXC_RULES.pvLevels, `${ptLevels} levels of page tables`, 1);
      }
    }
    this.#reserved(reserved1, pvInfo.offsetOf("reserved1"));
    this.#reserved(reserved2, pvInfo.offsetOf("reserved2"));
  }

  async #p2mFrames(body: RecordBody): Promise<void> {
    if (!this.#atLeast(p2mFramesHeader.size) || !(await body.need(p2mFramesHeader.size))) return;
    const { startPfn, endPfn } = p2mFramesHeader.read(body.view, body.at, body.order);
    body.take(p2mFramesHeader.size);
    if (endPfn < startPfn) {
      this.#add(LIBXC_RULES.p2mRange, `from pfn ${hex(startPfn)} to ${hex(endPfn)}`, 0);
      return;
    }
    this.#shape.lastPfn = Math.max(endPfn, this.#shape.lastPfn ?? 0);
    if ((this.#length & 7) !== 0) {
      this.#add(LIBXC_RULES.length, `body of ${this.#length} bytes, not a multiple of 8`);
      return;
    }
    const frames = (this.#length - p2mFramesHeader.size) / 8;
    const { width } = this.#shape;
    if (width !== undefined) {
      const perFrame = 4096 / width;
      const expected = Math.floor(endPfn / perFrame) - Math.floor(startPfn / perFrame) + 1;
      if (frames !== expected) {
        this.#add(
          LIBXC_RULES.p2mCount,
          `${frames} frames for pfns ${hex(startPfn)} to ${hex(endPfn)}, ${expected} are needed`,
        );
      }
    }
    await entries(body, 8, (view, at, order, i) => {
      const little = order === "little";
      const low = view.getUint32(little ? at : at + 4, little);
      const high = view.getUint32(little ? at + 4 : at, little);
      if (high === 0 && low <= endPfn) return;
      const pfn = hex((BigInt(high) << 32n) | BigInt(low));
      const message = `frame ${i} is pfn ${pfn}, the last one is ${hex(endPfn)}`;
      this.#add(LIBXC_RULES.p2mFrame, message, p2mFramesHeader.size + i * 8);
    });
  }

  async #vcpu(type: number, body: RecordBody): Promise<void> {
    if (!this.#atLeast(vcpuHeader.size) || !(await body.need(vcpuHeader.size))) return;
    const { vcpuId, reserved } = vcpuHeader.read(body.view, body.at, body.order);
    body.take(vcpuHeader.size);
    this.#reserved(reserved, vcpuHeader.offsetOf("reserved"));
    if (vcpuId >= MAX_VCPUS) {
      this.#add(LIBXC_RULES.vcpuId, `vCPU ${vcpuId}`, 0);
    } else {
      const seen = this.#shape.vcpus.get(vcpuId) ?? new Set();
      if (seen.has(type))
        this.#add(LIBXC_RULES.vcpuRepeated, `a second record of this kind for vCPU ${vcpuId}`);
      this.#shape.vcpus.set(vcpuId, seen.add(type));
    }
    const size = this.#length - vcpuHeader.size;
    if (type === LIBXC_RECORD.X86_PV_VCPU_BASIC) {
      this.#basicSize(vcpuId, size);
      return;
    }
    if (size === 0) {
      this.#add(LIBXC_RULES.empty, `nothing is said of vCPU ${vcpuId}`);
      return;
    }
    if (type === LIBXC_RECORD.X86_PV_VCPU_EXTENDED) {
      if (!EXTENDED_SIZES.includes(size)) {
        this.#add(LIBXC_RULES.vcpuExtendedSize, `vCPU ${vcpuId}: extended context of ${size} bytes`);
      }
    } else if (type === LIBXC_RECORD.X86_PV_VCPU_XSAVE) {
      await this.#xsave(vcpuId, size, body);
    } else {
      await this.#msrs(vcpuId, size, body);
    }
  }

  #basicSize(vcpuId: number, size: number): void {
    const { width } = this.#shape;
    const expected = width === undefined ? Object.values(VCPU_CONTEXT_SIZE) : [VCPU_CONTEXT_SIZE[width]];
    if (expected.includes(size)) return;
    const wanted = expected.map(hex).join(" or ");
    this.#add(LIBXC_RULES.vcpuSize, `vCPU ${vcpuId}: context of ${hex(size)} bytes, not ${wanted}`);
  }

  async #xsave(vcpuId: number, size: number, body: RecordBody): Promise<void> {
    // a converter carries the area over as the old hypervisor wrote it
    if (this.#shape.converted) return;
    const complain = (what: string): void => this.#add(LIBXC_RULES.xsave, `vCPU ${vcpuId}: ${what}`);
    if (size < xsaveHeader.size + MIN_XSAVE_AREA) {
      complain(`${size} bytes, at least ${xsaveHeader.size + MIN_XSAVE_AREA} are needed`);
      return;
    }
    if (!(await body.need(xsaveHeader.size))) return;
    const { xcr0, xcr0Accum } = xsaveHeader.read(body.view, body.at, body.order);
    if ((xcr0 & 1n) === 0n) complain(`xcr0 ${hex(xcr0)} lacks bit 0`);
    else if ((xcr0 & ~xcr0Accum) !== 0n)
      complain(`xcr0 ${hex(xcr0)} has bits that xcr0_accum ${hex(xcr0Accum)} hasn't`);
  }

  async #msrs(vcpuId: number, size: number, body: RecordBody): Promise<void> {
    if (size % vcpuMsr.size !== 0) {
      this.#add(LIBXC_RULES.msrs, `vCPU ${vcpuId}: ${size} bytes, not a multiple of ${vcpuMsr.size}`);
    }
    await entries(body, vcpuMsr.size, (view, at, order, i) => {
      const { reserved } = vcpuMsr.read(view, at, order);
      this.#reserved(reserved, vcpuHeader.size + i * vcpuMsr.size + 4, `entry ${i}: reserved field`);
    });
  }

  async #tscInfo(body: RecordBody): Promise<void> {
    if (!this.#exactly(tscInfo.size) || !(await body.need(tscInfo.size))) return;
    const { mode, reserved } = tscInfo.read(body.view, body.at, body.order);
    if (TSC_MODES[mode] === undefined) this.#add(LIBXC_RULES.tscMode, `mode ${mode}`, 0);
    this.#reserved(reserved, tscInfo.offsetOf("reserved"));
  }

  async #hvmParams(body: RecordBody): Promise<void> {
    if (!this.#atLeast(hvmParamsHeader.size) || !(await body.need(hvmParamsHeader.size))) return;
    const { count, reserved } = hvmParamsHeader.read(body.view, body.at, body.order);
    body.take(hvmParamsHeader.size);
    this.#reserved(reserved, hvmParamsHeader.offsetOf("reserved"));
    const expected = hvmParamsHeader.size + count * hvmParam.size;
    if (this.#length !== expected) {
      const message = `${count} parameters take ${expected} bytes, the body has ${this.#length}`;
      this.#add(LIBXC_RULES.length, message);
    }
    if (count === 0) this.#add(LIBXC_RULES.empty, "no parameter at all");
    const seen = new Set<bigint>();
    await entries(body, hvmParam.size, (view, at, order, i) => {
      const index = view.getBigUint64(at, order === "little");
      const place = hvmParamsHeader.size + i * hvmParam.size;
      const name = index < PARAM_LIMIT ? hvmParamName(Number(index)) : undefined;
      if (name === undefined) this.#add(LIBXC_RULES.paramUnknown, `parameter ${index}`, place);
      if (seen.has(index)) {
        this.#add(
          LIBXC_RULES.paramDuplicate,
          `parameter ${index} (${name ?? "unknown"}) stands twice`,
          place,
        );
      }
      if (index < PARAM_LIMIT) seen.add(index);
    });
  }

  async #msrPolicy(body: RecordBody): Promise<void> {
    if (!this.#whole(msrPolicyEntry.size)) return;
    await entries(body, msrPolicyEntry.size, (view, at, order, i) => {
      const { flags } = msrPolicyEntry.read(view, at, order);
      this.#reserved(flags, i * msrPolicyEntry.size + 4, `entry ${i}: flags field`);
    });
  }
}

type EntryVisitor = (view: DataView, at: number, order: ByteOrder, i: number) => void;

/** Visits the whole entries of `size` bytes that are left of a body, as far as the input goes. */
async function entries(body: RecordBody, size: number, visit: EntryVisitor): Promise<void> {
  const total = Math.floor(body.remaining / size);
  const batch = Math.floor(PIECE / size);
  for (let first = 0; first < total; first += batch) {
    const count = Math.min(batch, total - first);
    if (!(await body.need(count * size))) return;
    const { view, at, order } = body;
    for (let i = 0; i < count; i += 1) visit(view, at + i * size, order, first + i);
    body.take(count * size);
  }
}
