import { viewOf } from "../../binary/layout.js";
import type { ElfNote } from "../../elf/notes.js";
import type { Segment, Vcpu, X86Registers } from "../../guest/vcpu.js";
import { vboxControl, vboxCore, vboxGeneral, vboxMsrs, vboxSelector } from "./layout.js";

/** Cores that VirtualBox's `debugvm dumpvmcore` writes: an ELF vmcore with notes of its own, always little endian. */

const ORDER = "little";
const CORE = { name: "VBCORE", type: 0xb00 };
const CPU = { name: "VBCPU", type: 0xb01 };
const MAGIC = 0xc01a_c0de;
/** The form of the CPU notes that is read here; before, they held what changed with every release. */
const KNOWN_FORM = 0x1_0006;

const SEGMENTS = ["cs", "ds", "es", "fs", "gs", "ss"] as const;

const CPU_SIZE =
  vboxGeneral.size + (SEGMENTS.length + 2) * vboxSelector.size + vboxControl.size + vboxMsrs.size;

/** What VirtualBox's notes say of a guest. */
export interface VirtualBoxNotes {
  /** `7.0.14`. */
  readonly version: string;
  readonly vcpus: readonly Vcpu[];
}

/** VirtualBox's notes among a vmcore's; undefined where it isn't VirtualBox's. */
export function virtualBoxNotes(notes: readonly ElfNote[]): VirtualBoxNotes | undefined {
  const core = notes.find(({ name, type }) => name === CORE.name && type === CORE.type)?.descriptor;
  if (core === undefined || core.length < vboxCore.size) return undefined;
  const { magic, format, version } = vboxCore.decode(core, ORDER);
  if (magic !== MAGIC) return undefined;
  const cpus = notes.filter(({ name, type }) => name === CPU.name && type === CPU.type);
  return {
    version: `${version >>> 24}.${(version >>> 16) & 0xff}.${version & 0xffff}`,
    vcpus: cpus.map(({ descriptor }, id): Vcpu => {
      if (format === KNOWN_FORM && descriptor.length >= CPU_SIZE)
        return { id, registers: registersOf(descriptor) };
      return {
        id,
        caveat: `registers in a form that isn't read (VirtualBox core format 0x${format.toString(16)})`,
      };
    }),
  };
}

function registersOf(bytes: Uint8Array): X86Registers {
  const view = viewOf(bytes);
  let at = vboxGeneral.size;
  const segment = (): Segment => {
    const { base, limit, attributes, selector: value } = vboxSelector.read(view, at, ORDER);
    at += vboxSelector.size;
    // a descriptor's high word has them 8 bits higher; the limit's bits are in it, not here
    return { selector: value, base, limit, flags: (attributes & 0xf0ff) << 8 };
  };
  const segments: Partial<Record<(typeof SEGMENTS)[number] | "ldt" | "tr", Segment>> = {};
  for (const name of SEGMENTS) segments[name] = segment();
  const { cr0, cr2, cr3, cr4, dr, ...tables } = vboxControl.read(view, at, ORDER);
  at += vboxControl.size;
  segments.ldt = segment();
  segments.tr = segment();
  const { xcr0, ...msrs } = vboxMsrs.read(view, at, ORDER);
  const [dr0 = 0n, dr1 = 0n, dr2 = 0n, dr3 = 0n, , , dr6 = 0n, dr7 = 0n] = dr;
  return {
    kind: "x86",
    general: vboxGeneral.read(view, 0, ORDER),
    segments,
    gdt: { base: tables.gdtr, limit: tables.gdtr_limit },
    idt: { base: tables.idtr, limit: tables.idtr_limit },
    control: { cr0, cr2, cr3, cr4, xcr0 },
    debug: { dr0, dr1, dr2, dr3, dr6, dr7 },
    msrs,
  };
}
