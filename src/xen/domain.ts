import { I386, X86_64, type Architecture, type Facts, type GuestImage } from "../guest/image.js";
import { findVmcoreInfo } from "../guest/kernel/vmcoreinfo.js";
import type { PageMap } from "../guest/page-map.js";
import { pagingOf } from "../guest/paging/walk.js";
import type { Vcpu } from "../guest/vcpu.js";
import type { HvmContextEntry } from "./hvm-context/entries.js";
import { hvmParamName } from "./libxc/hvm-params.js";
import { TSC_MODES } from "./libxc/layout.js";
import { hvmVcpus, type PvVcpuParts, pvVcpu } from "./vcpu.js";

export interface TscFact {
  readonly mode: number;
  readonly khz: number;
  readonly nsec: bigint;
  readonly incarnation: number;
}

/** Reasons for memory without contents, as they stand in ranges. */
export const REASON = {
  xtab: "not populated (XTAB)",
  broken: "broken page (BROKEN)",
  xalloc: "allocated, never written (XALLOC)",
  noData: "allocated without contents",
  truncated: "the stream ends before its contents",
  mismatch: "its batch has other contents than it announces",
} as const;

/** What a stream of any version comes down to. */
export interface XenGuestParts {
  /** Kind of stream: `Xen migration stream, libxc version 3`. */
  readonly origin: string;
  readonly source: string;
  readonly hypervisor?: string | undefined;
  readonly type: "HVM" | "PV";
  /** Bytes of a PV guest's word. */
  readonly guestWidth?: 4 | 8 | undefined;
  readonly memory: PageMap;
  /** xl's configuration of the domain: JSON or its own syntax. */
  readonly config?: string | undefined;
  readonly tsc?: TscFact | undefined;
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
export async function xenGuest(parts: XenGuestParts): Promise<GuestImage> {
  const vcpus =
    parts.type === "HVM"
      ? hvmVcpus(parts.hvmContext ?? [])
      : await Promise.all((parts.pvVcpus ?? []).map((vcpu) => pvVcpu(vcpu, parts.memory)));
  const arch = parts.type === "HVM" ? hvmArchitecture(vcpus) : parts.guestWidth === 4 ? I386 : X86_64;
  const vmcoreInfo = await findVmcoreInfo(parts.memory, arch, vcpus);
  const { name, uuid } = identityOf(parts.config);
  const more = {
    ...(parts.tsc === undefined ? {} : { tsc: describeTsc(parts.tsc) }),
    ...(parts.hvmParams === undefined ? {} : { hvmParams: describeParams(parts.hvmParams) }),
    ...(parts.p2mFrames === undefined ? {} : { p2m: { frames: parts.p2mFrames } }),
    ...(parts.guestWidth === undefined ? {} : { guestWidth: parts.guestWidth }),
    ...(parts.pageTypes === undefined ? {} : { pageTypes: parts.pageTypes }),
  };
  const facts: Facts = {
    origin: parts.origin,
    source: parts.source,
    ...(parts.hypervisor === undefined ? {} : { hypervisor: parts.hypervisor }),
    guestType: parts.type,
    ...(name === undefined ? {} : { name }),
    ...(uuid === undefined ? {} : { uuid }),
    ...(vmcoreInfo === undefined ? {} : { vmcoreInfo }),
    ...(Object.keys(more).length === 0 ? {} : { more }),
  };
  return {
    arch,
    memory: parts.memory,
    vcpus,
    facts,
    warnings: parts.warnings,
    ...(parts.sharedInfo === undefined ? {} : { raw: { shared_info: parts.sharedInfo } }),
    ...(parts.close === undefined ? {} : { close: parts.close }),
  };
}

/** 32-bit only when some processor pages and none is in long mode. */
function hvmArchitecture(vcpus: readonly Vcpu[]): Architecture {
  const modes = vcpus.flatMap(({ registers }) =>
    registers?.kind === "x86" ? [pagingOf(registers).mode] : [],
  );
  const is32 = !modes.includes("long") && modes.some((mode) => mode === "legacy" || mode === "pae");
  return is32 ? I386 : X86_64;
}

function describeTsc(tsc: TscFact): Record<string, unknown> {
  return {
    mode: TSC_MODES[tsc.mode] ?? `mode ${tsc.mode}`,
    khz: tsc.khz,
    nsec: String(tsc.nsec),
    incarnation: tsc.incarnation,
  };
}

function describeParams(params: ReadonlyMap<number, bigint>): Record<string, string> {
  const sorted = [...params].sort(([a], [b]) => a - b);
  return Object.fromEntries(
    sorted.map(([index, value]) => [hvmParamName(index) ?? String(index), `0x${value.toString(16)}`]),
  );
}

/** Name and UUID from xl's configuration, in either of its forms. */
function identityOf(config: string | undefined): { name?: string | undefined; uuid?: string | undefined } {
  if (config === undefined) return {};
  try {
    const parsed: unknown = JSON.parse(config);
    const info = member(parsed, "c_info");
    return { name: textOf(member(info, "name")), uuid: textOf(member(info, "uuid")) };
  } catch {
    const setting = (key: string): string | undefined =>
      new RegExp(`^\\s*${key}\\s*=\\s*["']([^"'\\n]*)["']`, "m").exec(config)?.[1];
    return { name: setting("name"), uuid: setting("uuid") };
  }
}

function member(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

const textOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
