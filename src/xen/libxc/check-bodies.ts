import type { Rule } from "../../findings/rule.js";
import { checkHvmContext } from "../hvm-context/check.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import type { RecordBody, StreamRecord } from "../record.js";
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
import { p2mFrameCount, readFields, visitEntries, visitHvmParams, visitP2mFrames } from "./records.js";
import { LIBXC_RULES } from "./rules.js";

/** What bodies say of the guest that later records are held against. */
export interface GuestShape {
  /** A converter made the stream from a legacy one. */
  converted: boolean;
  /** Bytes of a PV guest's word, once X86_PV_INFO said it. */
  width: 4 | 8 | undefined;
  /** Last pfn of a PV guest, once X86_PV_P2M_FRAMES said it. */
  lastPfn: number | undefined;
  /** Type codes of the entries of the last HVM context that came whole. */
  hvmEntries: ReadonlySet<number> | undefined;
  /** vCPU record types seen, by vCPU. */
  readonly vcpus: Map<number, Set<number>>;
}

const MIN_XSAVE_AREA = 576;
const EXTENDED_SIZES: readonly number[] = [64, 128];

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** Checks the bodies of all libxc records but PAGE_DATA. */
export class BodyChecker {
  readonly #diagnostics: Diagnostics;
  readonly #shape: GuestShape;
  #record: StreamRecord | undefined;

  constructor(diagnostics: Diagnostics, shape: GuestShape) {
    this.#diagnostics = diagnostics;
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
        this.#shape.hvmEntries = await checkHvmContext(this.#diagnostics, record, body);
        return;
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
    this.#diagnostics.report(rule, { offset, record: record.ref }, message);
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
    this.#add(LIBXC_RULES.length, `body of ${this.#length} bytes, not a multiple of ${size} (at least one)`);
    return false;
  }

  #reserved(value: number, at: number, field = "reserved field"): void {
    if (value !== 0) this.#add(LIBXC_RULES.reserved, `${field} holds ${hex(value)}`, at);
  }

  async #pvInfo(body: RecordBody): Promise<void> {
    if (!this.#exactly(pvInfo.size)) return;
    const info = await readFields(body, pvInfo);
    if (info === undefined) return;
    const { guestWidth, ptLevels, reserved1, reserved2 } = info;
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
    if (!this.#atLeast(p2mFramesHeader.size)) return;
    const header = await readFields(body, p2mFramesHeader);
    if (header === undefined) return;
    const { startPfn, endPfn } = header;
    if (endPfn < startPfn) {
      this.#add(LIBXC_RULES.p2mRange, `from pfn ${hex(startPfn)} to ${hex(endPfn)}`, 0);
      return;
    }
    this.#shape.lastPfn = Math.max(endPfn, this.#shape.lastPfn ?? 0);
    if ((this.#length & 7) !== 0) {
      this.#add(LIBXC_RULES.length, `body of ${this.#length} bytes, not a multiple of 8`);
      return;
    }
    const frames = p2mFrameCount(this.#length);
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
    await visitP2mFrames(body, (low, high, i) => {
      if (high === 0 && low <= endPfn) return;
      const pfn = hex((BigInt(high) << 32n) | BigInt(low));
      const message = `frame ${i} is pfn ${pfn}, the last one is ${hex(endPfn)}`;
      this.#add(LIBXC_RULES.p2mFrame, message, p2mFramesHeader.size + i * 8);
    });
  }

  async #vcpu(type: number, body: RecordBody): Promise<void> {
    if (!this.#atLeast(vcpuHeader.size)) return;
    const header = await readFields(body, vcpuHeader);
    if (header === undefined) return;
    const { vcpuId, reserved } = header;
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
      this.#add(LIBXC_RULES.empty, `no state of vCPU ${vcpuId}`);
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
    const header = await readFields(body, xsaveHeader);
    if (header === undefined) return;
    const { xcr0, xcr0Accum } = header;
    if ((xcr0 & 1n) === 0n) complain(`xcr0 ${hex(xcr0)} lacks bit 0`);
    else if ((xcr0 & ~xcr0Accum) !== 0n)
      complain(`xcr0 ${hex(xcr0)} has bits that xcr0_accum ${hex(xcr0Accum)} lacks`);
  }

  async #msrs(vcpuId: number, size: number, body: RecordBody): Promise<void> {
    if (size % vcpuMsr.size !== 0) {
      this.#add(LIBXC_RULES.msrs, `vCPU ${vcpuId}: ${size} bytes, not a multiple of ${vcpuMsr.size}`);
    }
    await visitEntries(body, vcpuMsr.size, (view, at, order, i) => {
      const { reserved } = vcpuMsr.read(view, at, order);
      this.#reserved(reserved, vcpuHeader.size + i * vcpuMsr.size + 4, `entry ${i}: reserved field`);
    });
  }

  async #tscInfo(body: RecordBody): Promise<void> {
    if (!this.#exactly(tscInfo.size)) return;
    const info = await readFields(body, tscInfo);
    if (info === undefined) return;
    const { mode, reserved } = info;
    if (TSC_MODES[mode] === undefined) this.#add(LIBXC_RULES.tscMode, `mode ${mode}`, 0);
    this.#reserved(reserved, tscInfo.offsetOf("reserved"));
  }

  async #hvmParams(body: RecordBody): Promise<void> {
    if (!this.#atLeast(hvmParamsHeader.size)) return;
    const header = await readFields(body, hvmParamsHeader);
    if (header === undefined) return;
    const { count, reserved } = header;
    this.#reserved(reserved, hvmParamsHeader.offsetOf("reserved"));
    const expected = hvmParamsHeader.size + count * hvmParam.size;
    if (this.#length !== expected) {
      const message = `${count} parameters take ${expected} bytes, the body has ${this.#length}`;
      this.#add(LIBXC_RULES.length, message);
    }
    if (count === 0) this.#add(LIBXC_RULES.empty, "no parameters");
    const seen = new Set<number>();
    await visitHvmParams(body, ({ index, known, name }, i) => {
      const place = hvmParamsHeader.size + i * hvmParam.size;
      if (name === undefined) this.#add(LIBXC_RULES.paramUnknown, `parameter ${index}`, place);
      if (known === undefined) return;
      if (seen.has(known)) {
        const message = `parameter ${index} (${name ?? "unknown"}) occurs twice`;
        this.#add(LIBXC_RULES.paramDuplicate, message, place);
      }
      seen.add(known);
    });
  }

  async #msrPolicy(body: RecordBody): Promise<void> {
    if (!this.#whole(msrPolicyEntry.size)) return;
    await visitEntries(body, msrPolicyEntry.size, (view, at, order, i) => {
      const { flags } = msrPolicyEntry.read(view, at, order);
      this.#reserved(flags, i * msrPolicyEntry.size + 4, `entry ${i}: flags field`);
    });
  }
}
