import { BLANK_PRSTATUS, PRSTATUS_PPC64 } from "../../elf/prstatus.js";
import { type Architecture, PPC64, PPC64_LE } from "../../guest/image.js";
import type { OtherRegisters } from "../../guest/vcpu.js";
import type { Value } from "../core/value.js";

/** Numbers of special purpose registers. */
const DSISR = 18;
const DAR = 19;
const LPCR = 0x13e;
/** LPCR.ILE: the kernel takes interrupts in little endian. */
const LITTLE_ENDIAN = 0x0200_0000n;
/** Parts of XER that are kept apart, and where they belong. */
const XER_PARTS = { so: 31n, ov: 30n, ca: 29n, ov32: 19n, ca32: 18n } as const;

/** The byte order of the guest's kernel, as QEMU's own dumps tell it. */
export function ppc64Architecture(env: Value): Architecture {
  const lpcr = env.has("spr") ? (env.bigints("spr")[LPCR] ?? 0n) : 0n;
  return (lpcr & LITTLE_ENDIAN) === 0n ? PPC64 : PPC64_LE;
}

/** Registers out of a CPUPPCState, as NT_PRSTATUS holds them. */
export function ppc64Registers(env: Value, id: number, arch: Architecture): OtherRegisters {
  const r = env.bigints("gpr");
  const spr = env.bigints("spr");
  const cr = env.bigints("crf").reduce((sum, field, i) => sum | (field << BigInt(28 - 4 * i)), 0n);
  let xer = env.bigint("xer");
  for (const [part, bit] of Object.entries(XER_PARTS)) if (env.has(part)) xer |= env.bigint(part) << bit;
  const kept = {
    nip: env.bigint("nip"),
    msr: env.bigint("msr"),
    ctr: env.bigint("ctr"),
    lr: env.bigint("lr"),
    xer,
    cr,
    dar: spr[DAR] ?? 0n,
    dsisr: spr[DSISR] ?? 0n,
  };
  const blank = { ...BLANK_PRSTATUS, pr_sigpend: 0n, pr_sighold: 0n, pr_pid: id + 1 };
  const unknown = { orig_r3: 0n, softe: 0n, trap: 0n, result: 0n, rest: new Uint8Array(0) };
  return {
    kind: "other",
    prstatus: PRSTATUS_PPC64.encode({ ...blank, ...unknown, ...kept, r }, arch.order),
    pc: kept.nip,
    sp: r[1] ?? 0n,
    named: { ...Object.fromEntries(r.map((value, i) => [`r${i}`, value])), ...kept },
  };
}
