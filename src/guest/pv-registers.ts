import { viewOf } from "../binary/layout.js";
import { PAGE_SIZE, type PhysicalMemory } from "./memory.js";
import { PV_GENERAL_32, PV_GENERAL_64, PV_IN_KERNEL, pvContext32, pvContext64 } from "./pv-context.js";
import {
  completeGeneral,
  type Segment,
  type X86General,
  type X86Registers,
  type X86SegmentName,
} from "./vcpu.js";

/** Reads the descriptor with this index of the vCPU's GDT, undefined where it can't be had. */
type Descriptors = (index: number) => Promise<Uint8Array | undefined>;

/** Selectors from here on are Xen's own: flat segments that every PV guest may use. */
const XEN_GDT_START = 0xe000;
const FLAT_CODE_64 = 0x00a0_9b00;
const FLAT_CODE_32 = 0x00c0_9b00;
const FLAT_DATA = 0x00c0_9300;
/** Selector of Xen's flat 64-bit code segment, privilege level apart. */
const XEN_CODE_64 = 0xe030;

async function pvSegment(
  selector: number,
  isCode: boolean,
  descriptor: Descriptors,
): Promise<Segment | undefined> {
  if ((selector & ~3) === 0) return undefined;
  if (selector >= XEN_GDT_START) {
    const code = (selector & ~3) === XEN_CODE_64 ? FLAT_CODE_64 : FLAT_CODE_32;
    const level = (selector & 3) << 13;
    return { selector, base: 0n, limit: 0xffff_ffff, flags: (isCode ? code : FLAT_DATA) | level };
  }
  if ((selector & 4) !== 0) return undefined;
  const raw = await descriptor(selector >> 3);
  if (raw === undefined) return undefined;
  const low = viewOf(raw).getUint32(0, true);
  const high = viewOf(raw).getUint32(4, true);
  const limit = (high & 0xf_0000) | (low & 0xffff);
  const granular = (high & 0x80_0000) !== 0;
  return {
    selector,
    base: BigInt((((high & 0xff00_0000) | ((high & 0xff) << 16) | (low >>> 16)) >>> 0) >>> 0),
    limit: granular ? limit * 4096 + 4095 : limit,
    flags: high & 0x00f0_ff00,
  };
}

function gdtReader(memory: PhysicalMemory, frames: readonly number[], entries: number): Descriptors {
  return async (index) => {
    const frame = frames[Math.floor(index / 512)];
    if (frame === undefined || frame === 0 || index >= entries) return undefined;
    const raw = new Uint8Array(8);
    return (await memory.read(frame * PAGE_SIZE + (index % 512) * 8, raw)) === 8 ? raw : undefined;
  };
}

/** The guest's own number of a frame that a context names. */
export type FrameOf = (frame: number) => number | undefined;

/** Frames of a GDT as numbers; what can't be a pfn is no frame. */
function pfns(frames: readonly (bigint | number)[], frameOf: FrameOf): number[] {
  return frames.map((frame) => (frame < 2 ** 40 ? (frameOf(Number(frame)) ?? 0) : 0));
}

/**
 * Registers of a PV vCPU from its context. Descriptors come from the guest's own GDT; Xen's segments
 * are flat. A 32-bit guest's cr3, rotated in the context, is given as the page table's address.
 * @param frameOf needed where the context holds machine frames, as `xl dump-core` writes it
 */
export async function pvRegisters(
  context: Uint8Array,
  memory: PhysicalMemory,
  frameOf: FrameOf = (frame) => frame,
): Promise<X86Registers> {
  return context.length >= pvContext64.size ? pv64(context, memory, frameOf) : pv32(context, memory, frameOf);
}

async function pv64(context: Uint8Array, memory: PhysicalMemory, frameOf: FrameOf): Promise<X86Registers> {
  const cpu = pvContext64.decode(context, "little");
  const general: Partial<Record<X86General, bigint>> = { rip: cpu.rip, rflags: cpu.rflags, rsp: cpu.rsp };
  for (const [i, name] of PV_GENERAL_64.entries()) general[name] = cpu.general[i] ?? 0n;
  const descriptor = gdtReader(memory, pfns(cpu.gdtFrames, frameOf), Number(cpu.gdtEntries));
  // an HVM guest's context has no such flag: there the privilege level decides
  const inKernel = (cpu.flags & BigInt(PV_IN_KERNEL)) !== 0n || (cpu.cs & 3) === 0;
  const gsBase = inKernel ? cpu.gsBaseKernel : cpu.gsBaseUser;
  const segments = await pvSegments(cpu, descriptor);
  // in 64-bit mode the bases of fs and gs are registers of their own
  const based = (selector: number, base: bigint, known: Segment | undefined): Segment => ({
    ...(known ?? { selector, limit: 0, flags: 0 }),
    base,
  });
  return {
    kind: "x86",
    general: completeGeneral(general),
    segments: {
      ...segments,
      fs: based(cpu.fs, cpu.fsBase, segments.fs),
      gs: based(cpu.gs, gsBase, segments.gs),
    },
    control: controlOf(cpu.control),
    debug: debugOf(cpu.debug),
    msrs: { kernel_gs_base: inKernel ? cpu.gsBaseUser : cpu.gsBaseKernel },
  };
}

async function pv32(context: Uint8Array, memory: PhysicalMemory, frameOf: FrameOf): Promise<X86Registers> {
  const cpu = pvContext32.decode(context, "little");
  const general: Partial<Record<X86General, bigint>> = {
    rip: BigInt(cpu.eip),
    rflags: BigInt(cpu.eflags),
    rsp: BigInt(cpu.esp),
  };
  for (const [i, name] of PV_GENERAL_32.entries()) general[name] = BigInt(cpu.general[i] ?? 0);
  const descriptor = gdtReader(memory, pfns(cpu.gdtFrames, frameOf), cpu.gdtEntries);
  const control = controlOf(cpu.control.map(BigInt));
  const rotated = BigInt(cpu.control[3] ?? 0);
  const cr3 = ((rotated >> 12n) | ((rotated & 0xfffn) << 20n)) << 12n;
  return {
    kind: "x86",
    general: completeGeneral(general),
    segments: await pvSegments(cpu, descriptor),
    control: { ...control, cr3 },
    debug: debugOf(cpu.debug.map(BigInt)),
    msrs: {},
  };
}

type Selectors = Readonly<Record<"cs" | "ds" | "es" | "fs" | "gs" | "ss", number>>;

async function pvSegments(
  selectors: Selectors,
  descriptor: Descriptors,
): Promise<Partial<Record<X86SegmentName, Segment>>> {
  const segments: Partial<Record<X86SegmentName, Segment>> = {};
  for (const name of ["cs", "ds", "es", "fs", "gs", "ss"] as const) {
    const segment = await pvSegment(selectors[name], name === "cs", descriptor);
    if (segment !== undefined) segments[name] = segment;
  }
  return segments;
}

function controlOf(control: readonly bigint[]): Record<string, bigint> {
  const [cr0 = 0n, , cr2 = 0n, cr3 = 0n, cr4 = 0n] = control;
  return { cr0, cr2, cr3, cr4 };
}

function debugOf(debug: readonly bigint[]): Record<string, bigint> {
  const [dr0 = 0n, dr1 = 0n, dr2 = 0n, dr3 = 0n, , , dr6 = 0n, dr7 = 0n] = debug;
  return { dr0, dr1, dr2, dr3, dr6, dr7 };
}
