import { AARCH64, ARM } from "../../../guest/arch/arm.js";
import type { Architecture } from "../../../guest/arch/architecture.js";
import { I386, X86_64 } from "../../../guest/arch/x86.js";
import { PPC64, PPC64_LE } from "../../../guest/arch/ppc64.js";
import { RISCV64 } from "../../../guest/arch/riscv64.js";
import { S390X } from "../../../guest/arch/s390x.js";
import type { Vcpu } from "../../../guest/vcpu.js";
import { aarch64Registers, armArchitecture, armRegisters } from "../../cpu/arm.js";
import type { CpuFields } from "../../cpu/fields.js";
import { ppc64Architecture, ppc64Registers } from "../../cpu/ppc64.js";
import { riscv64Registers } from "../../cpu/riscv64.js";
import { s390xRegisters } from "../../cpu/s390x.js";
import { x86Registers } from "../../cpu/x86.js";
import {
  bigOf,
  type DeviceState,
  type DeviceStruct,
  type DeviceValue,
  fieldOf,
  isStruct,
  listOf,
  numberOf,
} from "./devices.js";

/** Type and attributes of a segment; the rest of the descriptor's high word repeats base and limit. */
const SEGMENT_FLAGS = 0x00ff_ff00n;
/** Elements of `cr`, which is saved as one field for each that counts. */
const CONTROL_COUNT = 5;
const WIDE_GENERAL = 16;
/** MSR.LE: the vCPU runs in little endian now. */
const MSR_LITTLE = 1n;

/** The vCPUs of a stream. */
export interface SavedVcpus {
  /** By the first vCPU; undefined when the stream has none, or its fields are not known. */
  readonly arch: Architecture | undefined;
  /** By ascending number. */
  readonly vcpus: readonly Vcpu[];
}

/** Registers of all `cpu` sections, by the names of their fields. */
export function vcpusOf(devices: readonly DeviceState[]): SavedVcpus {
  const cpus = devices.filter(({ section }) => section === "cpu");
  const first = cpus[0];
  const arch = first && architectureOf(new SavedFields(first));
  const vcpus = cpus.map((cpu): Vcpu => {
    const registers = arch && registersOf(cpu, arch, devices);
    return { id: cpu.instance, ...(registers === undefined ? {} : { registers }) };
  });
  return { arch, vcpus: vcpus.sort((a, b) => a.id - b.id) };
}

/** The architecture by a field that only its vCPUs have. */
function architectureOf(cpu: CpuFields): Architecture | undefined {
  if (cpu.has("xregs")) return armArchitecture(cpu);
  if (cpu.has("eip")) return cpu.bigints("regs").length === WIDE_GENERAL ? X86_64 : I386;
  if (cpu.has("psw.mask")) return S390X;
  if (cpu.has("nip"))
    return ((cpu.bigint("msr") ?? 0n) & MSR_LITTLE) === 0n ? ppc64Architecture(cpu) : PPC64_LE;
  return cpu.has("mhartid") ? RISCV64 : undefined;
}

function registersOf(
  cpu: DeviceState,
  arch: Architecture,
  devices: readonly DeviceState[],
): Vcpu["registers"] {
  const fields = new SavedFields(cpu);
  switch (arch.machine) {
    case X86_64.machine:
    case I386.machine: {
      const registers = x86Registers(fields);
      const apic = devices.find(({ section, instance }) => section === "apic" && instance === cpu.instance);
      const tpr = apic && numberOf(fieldOf(apic, "tpr"));
      if (registers === undefined || tpr === undefined) return registers;
      return { ...registers, control: { ...registers.control, cr8: BigInt(tpr >> 4) } };
    }
    case AARCH64.machine:
      return aarch64Registers(fields);
    case ARM.machine:
      return armRegisters(fields, cpu.instance);
    case PPC64.machine:
      return ppc64Registers(fields, cpu.instance, arch);
    case RISCV64.machine:
      return riscv64Registers(fields, cpu.instance);
    case S390X.machine:
      return s390xRegisters(fields, cpu.instance);
    default:
      return undefined;
  }
}

/** The fields of a saved vCPU: most have `env.` in front of their names. */
class SavedFields implements CpuFields {
  readonly #struct: DeviceStruct;

  constructor(struct: DeviceStruct) {
    this.#struct = struct;
  }

  #field(name: string): DeviceValue | undefined {
    return fieldOf(this.#struct, `env.${name}`) ?? fieldOf(this.#struct, name);
  }

  has(name: string): boolean {
    return this.#field(name) !== undefined;
  }

  bigint(name: string): bigint | undefined {
    const value = bigOf(this.#field(name));
    return value !== undefined && name === "flags" ? value & SEGMENT_FLAGS : value;
  }

  bigints(name: string): readonly (bigint | undefined)[] {
    if (name === "cr") return Array.from({ length: CONTROL_COUNT }, (_, i) => bigOf(this.#field(`cr[${i}]`)));
    return listOf(this.#field(name)).map(bigOf);
  }

  struct(name: string): CpuFields | undefined {
    const value = this.#field(name);
    return isStruct(value) ? new SavedFields(value) : undefined;
  }

  structs(name: string): readonly CpuFields[] {
    // what is no structure has no fields, but keeps its place
    return listOf(this.#field(name)).map((value) => new SavedFields(isStruct(value) ? value : NOTHING));
  }
}

const NOTHING: DeviceStruct = { name: "", version: 0, fields: [], subsections: [] };
