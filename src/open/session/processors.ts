import { appendTo } from "../../binary/arrays.js";
import { codeAround } from "../../guest/code.js";
import { isDamage } from "../../guest/damage.js";
import type { GuestImage } from "../../guest/image.js";
import { pagingOf } from "../../guest/paging/walk.js";
import type { Segment, Vcpu, X86Registers } from "../../guest/vcpu.js";
import type { Processor, ProcessorSummary, RegisterGroup, RegisterValue, SegmentRow } from "./protocol.js";

/** vCPUs described at most. */
const MOST = 1024;

/** Bits of registers that have names: Intel SDM volume 1, 3.4.3 (EFLAGS), volume 3, 2.5 (CR0, CR4), 2.2.1 (IA32_EFER). */
const FLAGS: Readonly<Record<string, readonly (readonly [bit: number, name: string])[]>> = {
  rflags: [
    [0, "CF"],
    [2, "PF"],
    [4, "AF"],
    [6, "ZF"],
    [7, "SF"],
    [8, "TF"],
    [9, "IF"],
    [10, "DF"],
    [11, "OF"],
    [14, "NT"],
    [16, "RF"],
    [17, "VM"],
    [18, "AC"],
    [19, "VIF"],
    [20, "VIP"],
    [21, "ID"],
  ],
  cr0: [
    [0, "PE"],
    [1, "MP"],
    [2, "EM"],
    [3, "TS"],
    [4, "ET"],
    [5, "NE"],
    [16, "WP"],
    [18, "AM"],
    [29, "NW"],
    [30, "CD"],
    [31, "PG"],
  ],
  cr4: [
    [0, "VME"],
    [1, "PVI"],
    [2, "TSD"],
    [3, "DE"],
    [4, "PSE"],
    [5, "PAE"],
    [6, "MCE"],
    [7, "PGE"],
    [8, "PCE"],
    [9, "OSFXSR"],
    [10, "OSXMMEXCPT"],
    [11, "UMIP"],
    [12, "LA57"],
    [13, "VMXE"],
    [16, "FSGSBASE"],
    [17, "PCIDE"],
    [18, "OSXSAVE"],
    [20, "SMEP"],
    [21, "SMAP"],
    [22, "PKE"],
  ],
  efer: [
    [0, "SCE"],
    [8, "LME"],
    [10, "LMA"],
    [11, "NXE"],
    [12, "SVME"],
  ],
};

const DESCRIPTOR_L = 1 << 21;
const DESCRIPTOR_DB = 1 << 22;
const DPL_SHIFT = 13;

function flagsOf(name: string, value: bigint): { readonly meaning?: string } {
  const names = FLAGS[name]?.filter(([bit]) => ((value >> BigInt(bit)) & 1n) === 1n).map(([, flag]) => flag);
  return names === undefined || names.length === 0 ? {} : { meaning: names.join(" ") };
}

function group(name: string, record: Readonly<Record<string, bigint>>, bits: number): RegisterGroup[] {
  const registers = Object.entries(record).map(
    ([register, value]): RegisterValue => ({ name: register, value, bits, ...flagsOf(register, value) }),
  );
  return registers.length === 0 ? [] : [{ name, registers }];
}

/** What a descriptor's high word says, in a few words: Intel SDM volume 3, 3.4.5. */
function segmentMeaning({ flags, selector }: Segment): string {
  if (flags === 0) return selector === 0 ? "null" : "";
  const present = (flags & (1 << 15)) !== 0;
  const system = (flags & (1 << 12)) === 0;
  const code = (flags & (1 << 11)) !== 0;
  const width = (flags & DESCRIPTOR_L) !== 0 ? "64-bit " : (flags & DESCRIPTOR_DB) !== 0 ? "32-bit " : "";
  const kind = system ? "system" : `${width}${code ? "code" : "data"}`;
  return `${kind}, DPL ${(flags >> DPL_SHIFT) & 3}${present ? "" : ", not present"}`;
}

function x86Mode({ general, control, segments, msrs }: X86Registers): string {
  const { cs } = segments;
  const cr0 = control.cr0;
  if (cr0 !== undefined && (cr0 & 1n) === 0n) return "real mode";
  const flags = cs?.flags ?? 0;
  const long = msrs.efer !== undefined && (msrs.efer & (1n << 10n)) !== 0n;
  const wide = (flags & DESCRIPTOR_L) !== 0 || (flags === 0 && (long || general.rip > 0xffff_ffffn));
  const width = wide ? "64-bit" : (flags & DESCRIPTOR_DB) !== 0 ? "32-bit" : flags === 0 ? "" : "16-bit";
  if (cs === undefined) return width;
  const ring = cs.selector & 3;
  return [width, ring === 3 ? "user mode" : ring === 0 ? "kernel mode" : `ring ${ring}`]
    .filter((part) => part !== "")
    .join(", ");
}

/** A vCPU in one line. */
export function processorSummary({ id, registers, caveat }: Vcpu): ProcessorSummary {
  const common = { id, ...(caveat === undefined ? {} : { caveat }) };
  if (registers === undefined) return common;
  if (registers.kind === "x86") {
    const mode = x86Mode(registers);
    const { rip, rsp } = registers.general;
    return { ...common, pc: rip, sp: rsp, ...(mode === "" ? {} : { mode }) };
  }
  const { pc, sp } = registers;
  const known = { ...common, ...(pc === undefined ? {} : { pc }), ...(sp === undefined ? {} : { sp }) };
  if (registers.kind !== "aarch64") return known;
  return { ...known, mode: `EL${(registers.pstate >> 2n) & 3n}` };
}

function x86Groups(registers: X86Registers): { groups: RegisterGroup[]; segments: SegmentRow[] } {
  const { general, control, debug, msrs, segments, gdt, idt } = registers;
  const rows = Object.entries(segments).map(
    ([name, segment]): SegmentRow => ({ name, ...segment, meaning: segmentMeaning(segment) }),
  );
  for (const [name, table] of [["gdt", gdt] as const, ["idt", idt] as const]) {
    if (table !== undefined) rows.push({ name, selector: 0, ...table, flags: 0, meaning: "table" });
  }
  return {
    groups: [
      ...group("general", general, 64),
      ...group("control", control, 64),
      ...group("debug", debug, 64),
      ...group("msrs", msrs, 64),
    ],
    segments: rows,
  };
}

async function codeOf(guest: GuestImage, registers: X86Registers): Promise<Pick<Processor, "code">> {
  try {
    const code = await codeAround(guest.memory, registers);
    return code === undefined ? {} : { code };
  } catch (error) {
    if (isDamage(error)) return {};
    throw error;
  }
}

/** All that is known of each processor. */
export async function describeProcessors(guest: GuestImage): Promise<readonly Processor[]> {
  const described: Processor[] = [];
  for (const vcpu of guest.vcpus.slice(0, MOST)) {
    const { registers } = vcpu;
    const summary = processorSummary(vcpu);
    if (registers?.kind === "x86") {
      const translates = pagingOf(registers).mode !== "none";
      described.push({
        ...summary,
        ...x86Groups(registers),
        ...(await codeOf(guest, registers)),
        translates,
      });
      continue;
    }
    const groups: RegisterGroup[] = [];
    if (registers?.kind === "aarch64") {
      const { x, sp, pc, pstate, system } = registers;
      const general = Object.fromEntries(x.map((value, i) => [`x${i}`, value] as const));
      appendTo(groups, group("general", { ...general, sp, pc, pstate }, 64));
      appendTo(groups, group("system", system, 64));
    } else if (registers !== undefined) {
      appendTo(groups, group("named", registers.named, guest.arch.bits));
    }
    described.push({ ...summary, groups, segments: [], translates: false });
  }
  return described;
}
