import { BLANK_PRSTATUS, PRSTATUS_PPC64 } from "../../elf/prstatus.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import { PPC64, PPC64_LE } from "../../guest/arch/ppc64.js";
import type { OtherRegisters } from "../../guest/vcpu.js";
import { type CpuFields, numbered, registerFile } from "./fields.js";

const GENERAL_COUNT = 32;
/** Numbers of special purpose registers. */
const SPR = { xer: 1, lr: 8, ctr: 9, dsisr: 18, dar: 19, lpcr: 318 } as const;
/** LPCR.ILE: the kernel takes interrupts in little endian. */
const LITTLE_ENDIAN = 0x0200_0000n;
/** Parts of XER that a running emulator keeps apart, and where they belong. */
const XER_PARTS = { so: 31n, ov: 30n, ca: 29n, ov32: 19n, ca32: 18n } as const;

/** The byte order of the guest's kernel, as QEMU's own dumps give it. */
export function ppc64Architecture(env: CpuFields): Architecture {
  return (special(env, "lpcr") & LITTLE_ENDIAN) === 0n ? PPC64 : PPC64_LE;
}

/** A special purpose register: from the field of its name (a running emulator's), else from `spr` (a saved one's). */
function special(env: CpuFields, name: keyof typeof SPR): bigint {
  return env.bigint(name) ?? env.bigints("spr")[SPR[name]] ?? 0n;
}

/** Registers out of a CPUPPCState, as NT_PRSTATUS holds them; undefined when some are missing. */
export function ppc64Registers(env: CpuFields, id: number, arch: Architecture): OtherRegisters | undefined {
  const r = registerFile(env, "gpr", GENERAL_COUNT);
  const [nip, msr] = [env.bigint("nip"), env.bigint("msr")];
  if (r === undefined || nip === undefined || msr === undefined) return undefined;
  let xer = special(env, "xer");
  for (const [part, bit] of Object.entries(XER_PARTS)) xer |= (env.bigint(part) ?? 0n) << bit;
  const kept = {
    nip,
    msr,
    ctr: special(env, "ctr"),
    lr: special(env, "lr"),
    xer,
    cr: env.bigints("crf").reduce((sum: bigint, field, i) => sum | ((field ?? 0n) << BigInt(28 - 4 * i)), 0n),
    dar: special(env, "dar"),
    dsisr: special(env, "dsisr"),
  };
  const blank = { ...BLANK_PRSTATUS, pr_sigpend: 0n, pr_sighold: 0n, pr_pid: id + 1 };
  const unknown = { orig_r3: 0n, softe: 0n, trap: 0n, result: 0n, rest: new Uint8Array(0) };
  return {
    kind: "other",
    prstatus: PRSTATUS_PPC64.encode({ ...blank, ...unknown, ...kept, r }, arch.order),
    pc: nip,
    sp: r[1] ?? 0n,
    named: { ...numbered("r", r), ...kept },
  };
}
