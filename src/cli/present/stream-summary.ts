import {
  DOMAIN_TYPE,
  LIBXC_RECORD,
  pvInfo,
  p2mFramesHeader,
  tscInfo,
  vcpuHeader,
} from "../../xen/libxc/layout.js";
import { LIBXL_OPTIONS, LIBXL_RECORD, libxlEmulatorHeader } from "../../xen/libxl/layout.js";
import type { StreamRecord } from "../../xen/record.js";
import type { DomainHeaderItem, StreamItem } from "../../xen/stream/items.js";
import type { XenStream } from "../../xen/stream/read.js";

/** Names of records as the stock verifier prints them. */
const TITLES: Readonly<Record<string, string>> = {
  END: "End",
  PAGE_DATA: "Page data",
  X86_PV_INFO: "x86 PV info",
  X86_PV_P2M_FRAMES: "x86 PV P2M frames",
  X86_PV_VCPU_BASIC: "x86 PV vcpu basic",
  X86_PV_VCPU_EXTENDED: "x86 PV vcpu extended",
  X86_PV_VCPU_XSAVE: "x86 PV vcpu xsave",
  SHARED_INFO: "Shared info",
  X86_TSC_INFO: "TSC info",
  HVM_CONTEXT: "HVM context",
  HVM_PARAMS: "HVM params",
  TOOLSTACK: "Toolstack",
  X86_PV_VCPU_MSRS: "x86 PV vcpu msrs",
  VERIFY: "Verify",
  CHECKPOINT: "Checkpoint",
  CHECKPOINT_DIRTY_PFN_LIST: "Checkpoint dirty pfn list",
  STATIC_DATA_END: "Static data end",
  X86_CPUID_POLICY: "x86 CPUID policy",
  X86_MSR_POLICY: "x86 MSR policy",
  LIBXC_CONTEXT: "Libxc context",
  EMULATOR_XENSTORE_DATA: "Emulator xenstore data",
  EMULATOR_CONTEXT: "Emulator context",
  CHECKPOINT_END: "Checkpoint end",
  CHECKPOINT_STATE: "Checkpoint state",
};

const VCPU_KINDS = new Map<number, string>([
  [LIBXC_RECORD.X86_PV_VCPU_BASIC, "basic"],
  [LIBXC_RECORD.X86_PV_VCPU_EXTENDED, "extended"],
  [LIBXC_RECORD.X86_PV_VCPU_XSAVE, "xsave"],
  [LIBXC_RECORD.X86_PV_VCPU_MSRS, "msrs"],
]);
const EMULATORS = ["Unknown", "Qemu Traditional", "Qemu Upstream"];
const DOMAINS = new Map<number, string>([
  [DOMAIN_TYPE.x86Pv, "x86 PV"],
  [DOMAIN_TYPE.x86Hvm, "x86 HVM"],
]);

/** Prints a stream's contents in the stock verifier's words, page-data records squashed into one line. */
export class StreamSummary {
  readonly #print: (line: string) => void;
  #squashed = 0;

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  async add(item: StreamItem, stream: XenStream): Promise<void> {
    if (item.kind === "record") return this.#record(item, stream);
    if (item.kind === "xl-header") this.#print("Processed xl header");
    if (item.kind === "libxl-header") {
      const converted = (item.header.options & LIBXL_OPTIONS.legacy) === 0 ? "" : ", legacy converted";
      this.#print(`Libxl Header: ${item.order} endian${converted}`);
    }
    if (item.kind === "image-header") {
      this.#print(`Libxc Image Header: Version ${item.header.version}, ${item.order} endian`);
    }
    if (item.kind === "domain-header") this.#print(domainLine(item));
  }

  async #record(record: StreamRecord, stream: XenStream): Promise<void> {
    if (record.layer === "libxc" && record.type === LIBXC_RECORD.PAGE_DATA) {
      this.#squashed += 1;
      return;
    }
    if (this.#squashed > 0) {
      this.#print(`Squashed ${this.#squashed} Page Data records together`);
      this.#squashed = 0;
    }
    const layer = record.layer === "libxc" ? "Libxc" : "Libxl";
    const title = TITLES[record.ref.type] ?? record.ref.type;
    this.#print(`${layer} Record: ${title}, length ${record.length}`);
    const detail = await detailOf(record, stream);
    if (detail !== undefined) this.#print(`  ${detail}`);
  }
}

function domainLine({ header }: DomainHeaderItem): string {
  const type = DOMAINS.get(header.type) ?? `type 0x${header.type.toString(16)}`;
  return header.xenMajor === 0
    ? `Domain Header: legacy converted ${type}`
    : `Domain Header: ${type} from Xen ${header.xenMajor}.${header.xenMinor}`;
}

async function detailOf(record: StreamRecord, { body }: XenStream): Promise<string | undefined> {
  const { type, length } = record;
  const reads = async (size: number): Promise<boolean> => length >= size && (await body.need(size));
  if (record.layer === "libxl") {
    const isEmulator = type === LIBXL_RECORD.EMULATOR_CONTEXT || type === LIBXL_RECORD.EMULATOR_XENSTORE_DATA;
    if (!isEmulator || !(await reads(libxlEmulatorHeader.size))) return undefined;
    const { emulatorId, index } = libxlEmulatorHeader.read(body.view, body.at, body.order);
    return `Index ${index}, type ${EMULATORS[emulatorId] ?? `0x${emulatorId.toString(16)}`}`;
  }
  const kind = VCPU_KINDS.get(type);
  if (kind !== undefined && (await reads(vcpuHeader.size))) {
    const { vcpuId } = vcpuHeader.read(body.view, body.at, body.order);
    return `vcpu${vcpuId} ${kind} context, ${length - vcpuHeader.size} bytes`;
  }
  if (type === LIBXC_RECORD.X86_PV_INFO && (await reads(pvInfo.size))) {
    const { guestWidth, ptLevels } = pvInfo.read(body.view, body.at, body.order);
    return `${guestWidth * 8}bit guest, ${ptLevels} levels of pagetables`;
  }
  if (type === LIBXC_RECORD.X86_PV_P2M_FRAMES && (await reads(p2mFramesHeader.size))) {
    const { startPfn, endPfn } = p2mFramesHeader.read(body.view, body.at, body.order);
    return `Start pfn 0x${startPfn.toString(16)}, End 0x${endPfn.toString(16)}`;
  }
  if (type === LIBXC_RECORD.X86_TSC_INFO && (await reads(tscInfo.size))) {
    const { mode, khz, nsec, incarnation } = tscInfo.read(body.view, body.at, body.order);
    return `Mode ${mode}, ${khz} kHz, ${nsec} ns, incarnation ${incarnation}`;
  }
  return undefined;
}
