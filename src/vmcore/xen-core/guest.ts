import { formatError } from "../../findings/diagnostics.js";
import { type AbsentReason } from "../../guest/absent.js";
import { type LostPart, type Rescue, rescueWarnings } from "../../guest/salvage.js";
import type { GuestImage, UnplacedBlock } from "../../guest/image.js";
import { I386, X86_64 } from "../../guest/arch/x86.js";
import { withVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import type { OpenOptions } from "../../guest/options.js";
import { PageMap } from "../../guest/page-map.js";
import { pvContext32, pvContext64 } from "../../guest/pv-context.js";
import { pvRegisters } from "../../guest/pv-registers.js";
import type { Vcpu } from "../../guest/vcpu.js";
import type { ByteSource } from "../../io/byte-source.js";
import { eachFrame, MAX_FRAME, openXenCore, type PageHandler, UNUSED, type XenCore } from "./read.js";
import { rescueXenCore } from "./rescue.js";
import { repairFrames, type RepairedEntries } from "./rescue-frames.js";
import { XEN_CORE_RULES } from "./rules.js";
import { shiftText } from "./shift.js";

/** FXSAVE area at the start of a context. */
const FPU_SIZE = 512;
const NO_FRAME: AbsentReason = { kind: "damaged", text: "lost: the frame numbers of its pages" };
const TRUNCATED: AbsentReason = { kind: "truncated", text: "lost: the file ends before it" };

/** Enters runs of pages whose frames and contents follow one another. */
class RunJoiner {
  readonly #add: (first: number, count: number, index: number) => void;
  #first = 0;
  #count = 0;
  #index = 0;

  constructor(add: (first: number, count: number, index: number) => void) {
    this.#add = add;
  }

  page(index: number, frame: number): void {
    if (this.#count > 0 && frame === this.#first + this.#count && index === this.#index + this.#count) {
      this.#count += 1;
      return;
    }
    this.finish();
    this.#first = frame;
    this.#index = index;
    this.#count = 1;
  }

  finish(): void {
    if (this.#count > 0) this.#add(this.#first, this.#count, this.#index);
    this.#count = 0;
  }
}

/** Opens the guest of a Xen core. @throws FormatError */
export async function openXenCoreGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  if (options.partial !== true) return xenCoreGuest(await openXenCore(input), false, options);
  const { core, lost, shift } = await rescueXenCore(input);
  const guest = await xenCoreGuest(core, true, options, lost);
  return shift === undefined ? guest : shifted(guest, shift);
}

/** A guest of whose pages nothing says which are shifted. */
function shifted(guest: GuestImage, shift: number): GuestImage {
  const held = [...guest.memory.ranges()].filter(({ presence }) => presence !== "absent");
  const [start, end] = [held[0]?.start ?? 0, held.at(-1)?.end ?? 0];
  const doubtful = [{ start, end, why: `may be shifted: ${shiftText(shift)}` }];
  const rescue: Rescue = { lost: guest.rescue?.lost ?? [], doubtful };
  return { ...guest, rescue, warnings: [...rescueWarnings({ lost: [], doubtful }), ...guest.warnings] };
}

/** The model of a Xen core whose sections are read. @throws FormatError when it is cut, unless `partial` */
export async function xenCoreGuest(
  core: XenCore,
  partial: boolean,
  { findKernel = true }: OpenOptions = {},
  headers: readonly LostPart[] = [],
): Promise<GuestImage> {
  const { contents, pageSize, input } = core;
  const there = Math.floor(Math.max(0, Math.min(contents.size, input.size - contents.offset)) / pageSize);
  const memory = new PageMap(input, { pageSize });
  const joiner = new RunJoiner((first, count, index) => {
    const present = Math.max(0, Math.min(count, there - index));
    if (present > 0) memory.set(first, present, contents.offset + index * pageSize);
    if (present < count) memory.absent(first + present, count - present, TRUNCATED);
  });
  let strays = 0;
  const frames = new MachineFrames(core.contexts);
  // machine frames as "offsets" of a map: a few bytes a run
  const machines = new PageMap(input, { pageSize });
  const ofMachines = new RunJoiner((first, count, machine) => machines.set(first, count, machine * pageSize));
  const repairs = partial ? await repairFrames(core) : undefined;
  const enter = repairing(repairs, (index, frame, machine) => {
    frames.page(frame, machine);
    if (frame >= MAX_FRAME) strays += 1;
    else if (frame !== UNUSED) {
      joiner.page(index, frame);
      if (core.isPv && machine >= 0 && machine < MAX_FRAME) ofMachines.page(machine, frame);
    }
  });
  const { missing: cut, translated } = await eachFrame(core, enter);
  // entries that the file ends before, where there is one way only what they were
  const last = repairs?.at(-1);
  const isMended = cut > 0 && last?.frame !== undefined && last.to === core.pages;
  const missing = isMended ? 0 : cut;
  if (isMended)
    for (let index = core.pages - cut; index < Math.min(core.pages, there); index += 1)
      enter(index, UNUSED, UNUSED);
  joiner.finish();
  ofMachines.finish();
  const rescue = rescueOf(core, headers, repairs);
  const unplaced = unplacedOf(core, repairs, missing);
  const warnings = [
    ...(rescue === undefined ? [] : rescueWarnings(rescue)),
    ...(missing > 0 ? [`the file ends before the frame numbers of ${missing} pages`] : []),
    ...(strays > 0 ? [`${strays} pages belong to no frame`] : []),
    ...(translated > 0
      ? [
          "page tables and cr3 hold machine frames (see .xen_p2m), not the guest's own: ELF vmcores and kdumps are written with the guest's own",
        ]
      : []),
  ];
  if (missing > 0 && !partial)
    throw formatError(
      XEN_CORE_RULES.truncated,
      input.name,
      { offset: core.frames.offset },
      `the file ends before the frame numbers of ${missing} pages`,
    );
  const guest: GuestImage = {
    arch: core.contexts[0]?.length === pvContext32.size ? I386 : X86_64,
    memory,
    vcpus: await Promise.all(core.contexts.map((context, id) => vcpuOf(id, context, memory, frames))),
    facts: {
      origin: "Xen core (xl dump-core)",
      source: input.name,
      guestType: core.isPv ? "PV" : "HVM",
      ...(core.version === undefined ? {} : { hypervisor: `Xen ${core.version}` }),
    },
    warnings,
    ...(rescue === undefined ? {} : { rescue }),
    ...(unplaced.length === 0 ? {} : { unplaced }),
    ...(translated === 0 ? {} : { machineFrame: (frame) => machineAt(machines, frame) }),
    ...(core.sharedInfo === undefined ? {} : { raw: { shared_info: core.sharedInfo } }),
  };
  // page tables of a PV guest are found by it
  return withVmcoreInfo(guest, core.isPv ? findKernel !== false : findKernel);
}

/** A handler that is told what entries were, where they are others than the table says. */
function repairing(repairs: readonly RepairedEntries[] | undefined, page: PageHandler): PageHandler {
  if (repairs === undefined) return page;
  let next = 0;
  return (index, frame, machine) => {
    while (next < repairs.length && (repairs[next]?.to ?? 0) <= index) next += 1;
    const repair = repairs[next];
    if (repair === undefined || index < repair.from) return page(index, frame, machine);
    const after = index - repair.from;
    if (repair.frame === undefined) return page(index, UNUSED, UNUSED);
    return page(index, repair.frame + after, repair.machine === undefined ? UNUSED : repair.machine + after);
  };
}

function rescueOf(
  { frames, entrySize }: XenCore,
  headers: readonly LostPart[],
  repairs: readonly RepairedEntries[] = [],
): Rescue | undefined {
  if (headers.length === 0 && repairs.length === 0) return undefined;
  const entries = repairs.map(
    ({ from, to, frame }): LostPart => ({
      start: frames.offset + from * entrySize,
      end: frames.offset + to * entrySize,
      proof: 2,
      what: frame === undefined ? "frame numbers of pages" : "frame numbers of pages, made anew",
    }),
  );
  return { lost: [...headers, ...entries], doubtful: [] };
}

/** Pages whose frame numbers are lost. */
function unplacedOf(
  { contents, pageSize }: XenCore,
  repairs: readonly RepairedEntries[] = [],
  missing = 0,
): readonly UnplacedBlock[] {
  const lost = repairs
    .filter(({ frame }) => frame === undefined)
    .map(({ from, to }) => ({
      name: `pages ${from} to ${to - 1}`,
      size: (to - from) * pageSize,
      reason: NO_FRAME,
    }));
  const there = Math.floor(contents.size / pageSize) - missing;
  if (missing === 0 || there < 0) return lost;
  return [...lost, { name: `pages from ${there} on`, size: missing * pageSize, reason: NO_FRAME }];
}

function machineAt(machines: PageMap, frame: number): number | undefined {
  const place = machines.at(frame);
  return place.kind === "source" ? place.offset / machines.pageSize : undefined;
}

/** The guest's own numbers of the machine frames that its vCPUs' contexts name: their GDTs. */
class MachineFrames {
  readonly #frames = new Map<number, number>();
  readonly #wanted = new Set<number>();

  constructor(contexts: readonly Uint8Array[]) {
    for (const context of contexts) {
      if (context.length !== pvContext64.size) continue;
      for (const frame of pvContext64.decode(context, "little").gdtFrames)
        if (frame > 0n && frame < MAX_FRAME) this.#wanted.add(Number(frame));
    }
  }

  page(frame: number, machine: number): void {
    if (this.#wanted.has(machine)) this.#frames.set(machine, frame);
  }

  of(machine: number): number | undefined {
    return this.#frames.get(machine);
  }
}

async function vcpuOf(
  id: number,
  context: Uint8Array,
  memory: PageMap,
  frames: MachineFrames,
): Promise<Vcpu> {
  if (context.length !== pvContext64.size && context.length !== pvContext32.size)
    return { id, raw: { context } };
  const raw = { context, fpu: context.subarray(0, FPU_SIZE) };
  return { id, registers: await pvRegisters(context, memory, (frame) => frames.of(frame)), raw };
}
