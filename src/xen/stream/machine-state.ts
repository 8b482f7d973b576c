import type { ByteOrder } from "../../binary/layout.js";
import { describeRecord } from "../../findings/finding.js";
import {
  hvmParamsHeader,
  LIBXC_RECORD,
  MAX_BODY_LENGTH,
  p2mFramesHeader,
  pvInfo,
  SHARED_INFO_SIZE,
  tscInfo,
  VCPU_CONTEXT_SIZE,
} from "../libxc/layout.js";
import {
  decodeVcpuRecord,
  p2mFrameCount,
  readFields,
  readHvmParams,
  readTscInfo,
  type TscInfo,
  visitP2mFrames,
} from "../libxc/records.js";
import type { RecordBody, StreamRecord } from "../record.js";

/** No real guest's p2m table has more frames. */
const MOST_P2M_FRAMES = 1 << 20;
/** Upper words of a pfn from here on are beyond any machine's memory. */
const P2M_HIGH_LIMIT = 0x100;

type VcpuArea = "context" | "extended" | "xsave" | "msrs";

/** What the records of a stream beside its pages say of the machine: of each the last that is whole. */
export class MachineState {
  guestWidth: 4 | 8 | undefined;
  /** By the lengths of vCPUs' contexts, where no record says it. */
  contextWidth: 4 | 8 | undefined;
  p2mFrames: number[] | undefined;
  sharedInfo: Uint8Array | undefined;
  tsc: TscInfo | undefined;
  hvmContext: Uint8Array | undefined;
  hvmParams: Map<number, bigint> | undefined;
  readonly vcpus = new Map<number, Partial<Record<VcpuArea, Uint8Array>>>();
  readonly #warn: (message: string) => void;

  constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  /** Takes a record of the machine's state; nothing of one that the input doesn't hold whole. */
  async take(record: StreamRecord, body: RecordBody): Promise<void> {
    const name = describeRecord(record.ref);
    const isShort = (size: number): boolean => {
      if (record.length >= size) return false;
      this.#warn(`${name} is too short: left out`);
      return true;
    };
    const whole = async (): Promise<Uint8Array | undefined> => {
      const bytes = await body.rest(MAX_BODY_LENGTH);
      return bytes.length === record.length ? bytes : undefined;
    };
    switch (record.type) {
      case LIBXC_RECORD.X86_PV_INFO: {
        const info = isShort(pvInfo.size) ? undefined : await readFields(body, pvInfo);
        if (info === undefined) return;
        const { guestWidth } = info;
        if (guestWidth === 4 || guestWidth === 8) this.guestWidth = guestWidth;
        else this.#warn(`${name}: guest of ${guestWidth}-byte words`);
        return;
      }
      case LIBXC_RECORD.X86_PV_P2M_FRAMES:
        return this.#takeP2mFrames(record, body, name);
      case LIBXC_RECORD.SHARED_INFO:
        if (!isShort(SHARED_INFO_SIZE)) {
          this.sharedInfo = (await whole())?.subarray(0, SHARED_INFO_SIZE) ?? this.sharedInfo;
        }
        return;
      case LIBXC_RECORD.X86_TSC_INFO:
        if (!isShort(tscInfo.size)) this.tsc = (await readTscInfo(body)) ?? this.tsc;
        return;
      case LIBXC_RECORD.HVM_CONTEXT:
        this.hvmContext = (await whole()) ?? this.hvmContext;
        return;
      case LIBXC_RECORD.HVM_PARAMS: {
        const found = isShort(hvmParamsHeader.size) ? undefined : await readHvmParams(body);
        if (found === undefined) return;
        this.hvmParams ??= new Map();
        for (const [index, value] of found.params) this.hvmParams.set(index, value);
        if (found.impossible > 0)
          this.#warn(`${name}: ${found.impossible} entries of impossible indexes are left out`);
        return;
      }
      default: {
        const bytes = await whole();
        if (bytes !== undefined) this.#takeVcpu(record.type, bytes, body.order, name);
      }
    }
  }

  async #takeP2mFrames(record: StreamRecord, body: RecordBody, name: string): Promise<void> {
    const count = p2mFrameCount(record.length);
    if (count > MOST_P2M_FRAMES) return this.#warn(`${name} lists ${count} frames: left out`);
    const frames: number[] = [];
    if ((await readFields(body, p2mFramesHeader)) === undefined) return;
    const whole = await visitP2mFrames(body, (low, high, i) => {
      if (high < P2M_HIGH_LIMIT) frames.push(high * 2 ** 32 + low);
      else this.#warn(`${name}: frame ${i} is beyond any machine's memory`);
    });
    if (whole) this.p2mFrames = frames;
  }

  #takeVcpu(type: number, body: Uint8Array, order: ByteOrder, name: string): void {
    const area = VCPU_AREAS.get(type);
    if (area === undefined) return;
    const vcpu = decodeVcpuRecord(body, order);
    if (vcpu === undefined) return this.#warn(`${name} is too short: left out`);
    const { vcpuId, state } = vcpu;
    if (area === "context" && this.guestWidth === undefined) this.contextWidth ??= widthOf(state.length);
    const size = VCPU_CONTEXT_SIZE[this.guestWidth ?? this.contextWidth ?? 8];
    if (area === "context" && state.length !== size)
      return this.#warn(`${name}: context of ${state.length} bytes, not ${size}: left out`);
    this.vcpus.set(vcpuId, { ...this.vcpus.get(vcpuId), [area]: state });
  }
}

/** Bytes of a guest's word by those of a vCPU's context. */
const widthOf = (length: number): 4 | 8 | undefined =>
  length === VCPU_CONTEXT_SIZE[4] ? 4 : length === VCPU_CONTEXT_SIZE[8] ? 8 : undefined;

const VCPU_AREAS: ReadonlyMap<number, VcpuArea> = new Map([
  [LIBXC_RECORD.X86_PV_VCPU_BASIC, "context"],
  [LIBXC_RECORD.X86_PV_VCPU_EXTENDED, "extended"],
  [LIBXC_RECORD.X86_PV_VCPU_XSAVE, "xsave"],
  [LIBXC_RECORD.X86_PV_VCPU_MSRS, "msrs"],
]);

const STATE: ReadonlySet<number> = new Set([
  LIBXC_RECORD.X86_PV_INFO,
  LIBXC_RECORD.X86_PV_P2M_FRAMES,
  LIBXC_RECORD.SHARED_INFO,
  LIBXC_RECORD.X86_TSC_INFO,
  LIBXC_RECORD.HVM_CONTEXT,
  LIBXC_RECORD.HVM_PARAMS,
  ...VCPU_AREAS.keys(),
]);

/** Whether a record's body is state of the machine. */
export const isMachineState = (type: number): boolean => STATE.has(type);
