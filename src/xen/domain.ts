import { I386, X86_64 } from "../guest/arch/x86.js";
import type { Architecture } from "../guest/arch/architecture.js";
import type { Facts, GuestImage } from "../guest/image.js";
import { absentReasons } from "../guest/absent.js";
import { withVmcoreInfo } from "../guest/kernel/brought-vmcoreinfo.js";
import type { OpenOptions } from "../guest/options.js";
import type { PageMap } from "../guest/page-map.js";
import { pagingOf } from "../guest/paging/walk.js";
import type { Vcpu } from "../guest/vcpu.js";
import type { HvmContextEntry } from "./hvm-context/entries.js";
import { hvmParamName } from "./libxc/hvm-params.js";
import { summarizeTsc, type TscInfo } from "./libxc/records.js";
import { SAVE_TYPE, saveTypeName } from "./hvm-context/layout.js";
import { hvmVcpus, isVcpuRecord, type PvVcpuParts, pvVcpu } from "./vcpu.js";
import { summarizeConfig } from "./xl/config.js";

/** Why a stream has no contents of a page. */
export const XEN_ABSENT = absentReasons({
  xtab: { kind: "unpopulated", text: "not populated (XTAB)" },
  broken: { kind: "damaged", text: "broken page (BROKEN)" },
  xalloc: { kind: "never-written", text: "allocated, never written (XALLOC)" },
  truncated: { kind: "truncated", text: "the stream ends before its contents" },
  lost: { kind: "damaged", text: "no record names it, and part of the stream is damaged" },
  mismatch: { kind: "damaged", text: "its batch has other contents than it announces" },
});

/** What a stream of any version comes down to. */
export interface XenGuestParts {
  /** Kind of stream: `Xen migration stream, libxc version 3`. */
  readonly origin: string;
  readonly source: string;
  readonly hypervisor?: string | undefined;
  /** Undefined: not known. */
  readonly type: "HVM" | "PV" | undefined;
  /** Bytes of a PV guest's word. */
  readonly guestWidth?: 4 | 8 | undefined;
  readonly memory: PageMap;
  /** xl's configuration of the domain: JSON or its own syntax. */
  readonly config?: string | undefined;
  readonly tsc?: TscInfo | undefined;
  readonly hvmContext?: readonly HvmContextEntry[] | undefined;
  readonly hvmParams?: ReadonlyMap<number, bigint> | undefined;
  readonly pvVcpus?: readonly PvVcpuParts[] | undefined;
  /** pfns that hold a PV guest's own p2m table. */
  readonly p2mFrames?: readonly number[] | undefined;
  readonly sharedInfo?: Uint8Array | undefined;
  /** Pages of a PV guest by type, where it isn't 0. */
  readonly pageTypes?: Readonly<Record<string, number>> | undefined;
  readonly warnings: readonly string[];
  readonly close?: () => Promise<void>;
}

/** The model of a Xen guest. */
export async function xenGuest(
  parts: XenGuestParts,
  { findKernel = true }: OpenOptions = {},
): Promise<GuestImage> {
  const vcpus =
    parts.type !== "PV"
      ? hvmVcpus(parts.hvmContext ?? [])
      : await Promise.all((parts.pvVcpus ?? []).map((vcpu) => pvVcpu(vcpu, parts.memory)));
  const arch = parts.type !== "PV" ? hvmArchitecture(vcpus) : parts.guestWidth === 4 ? I386 : X86_64;
  const { name, uuid } = parts.config === undefined ? {} : summarizeConfig(parts.config);
  const more = {
    ...(parts.tsc === undefined ? {} : { tsc: summarizeTsc(parts.tsc) }),
    ...(parts.hvmParams === undefined ? {} : { hvmParams: describeParams(parts.hvmParams) }),
    ...(parts.p2mFrames === undefined ? {} : { p2m: { frames: parts.p2mFrames } }),
    ...(parts.guestWidth === undefined ? {} : { guestWidth: parts.guestWidth }),
    ...(parts.pageTypes === undefined ? {} : { pageTypes: parts.pageTypes }),
  };
  const facts: Facts = {
    origin: parts.origin,
    source: parts.source,
    ...(parts.hypervisor === undefined ? {} : { hypervisor: parts.hypervisor }),
    ...(parts.type === undefined ? {} : { guestType: parts.type }),
    ...(name === undefined ? {} : { name }),
    ...(uuid === undefined ? {} : { uuid }),
    ...(Object.keys(more).length === 0 ? {} : { more }),
  };
  const raw = {
    ...(parts.sharedInfo === undefined ? {} : { shared_info: parts.sharedInfo }),
    ...machineRecords(parts.hvmContext ?? []),
  };
  const guest: GuestImage = {
    arch,
    memory: parts.memory,
    vcpus,
    facts,
    warnings: parts.warnings,
    ...(Object.keys(raw).length === 0 ? {} : { raw }),
    ...(parts.close === undefined ? {} : { close: parts.close }),
  };
  return withVmcoreInfo(guest, findKernel);
}

/** Records of an HVM context that belong to no vCPU, by name: `hvm_pic`, with the instance beyond the first. */
function machineRecords(entries: readonly HvmContextEntry[]): Record<string, Uint8Array> {
  const found: Record<string, Uint8Array> = {};
  for (const { typecode, instance, body } of entries) {
    if (isVcpuRecord(typecode) || typecode === SAVE_TYPE.HEADER) continue;
    const name = `hvm_${saveTypeName(typecode).toLowerCase().replace(" ", "")}`;
    found[instance === 0 ? name : `${name}${instance}`] = body;
  }
  return found;
}

/** 32-bit only when some vCPU has paging enabled and none is in long mode. */
function hvmArchitecture(vcpus: readonly Vcpu[]): Architecture {
  const modes = vcpus.flatMap(({ registers }) =>
    registers?.kind === "x86" ? [pagingOf(registers).mode] : [],
  );
  const is32 = !modes.includes("long") && modes.some((mode) => mode === "legacy" || mode === "pae");
  return is32 ? I386 : X86_64;
}

function describeParams(params: ReadonlyMap<number, bigint>): Record<string, string> {
  const sorted = [...params].sort(([a], [b]) => a - b);
  return Object.fromEntries(
    sorted.map(([index, value]) => [hvmParamName(index) ?? String(index), `0x${value.toString(16)}`]),
  );
}
