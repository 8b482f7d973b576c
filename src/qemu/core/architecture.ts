import { AARCH64, AARCH64_BE, ARM } from "../../guest/arch/arm.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import { I386, X86_64 } from "../../guest/arch/x86.js";
import { PPC64, PPC64_LE } from "../../guest/arch/ppc64.js";
import { S390X } from "../../guest/arch/s390x.js";
import { UsageError } from "../../findings/errors.js";
import { architectureOfCpus } from "./cpus.js";
import type { Program } from "./value.js";

/** Names of QEMU's gdb script and of this project, in lower case. */
const NAMED: ReadonlyMap<string, Architecture> = new Map([
  ["x86_64", X86_64],
  ["386", I386],
  ["i386", I386],
  ["aarch64", AARCH64],
  ["aarch64-le", AARCH64],
  ["aarch64-be", AARCH64_BE],
  ["arm", ARM],
  ["ppc64-be", PPC64],
  ["ppc64-le", PPC64_LE],
  ["s390", S390X],
  ["s390x", S390X],
]);

/** Guests by the name of the emulator: `qemu-system-…`. */
const EMULATORS: ReadonlyMap<string, Architecture> = new Map([
  ["x86_64", X86_64],
  ["i386", I386],
  ["aarch64", AARCH64],
  ["arm", ARM],
  ["ppc64", PPC64],
  ["s390x", S390X],
]);

/** Guests by a type that only an emulator of theirs has. */
const TYPES: readonly (readonly [string, Architecture])[] = [
  ["X86CPU", X86_64],
  ["S390CPU", S390X],
  ["PowerPCCPU", PPC64],
  ["ARMCPU", AARCH64],
];

/** Returns the architecture of a name. @throws UsageError for an unknown name */
export function architectureNamed(name: string): Architecture {
  const found = NAMED.get(name.toLowerCase());
  if (found !== undefined) return found;
  throw new UsageError(`no architecture '${name}': one of ${[...NAMED.keys()].join(", ")}`);
}

/** What a program of a name emulates: `x86_64` of `qemu-system-x86_64`; undefined where the name doesn't say. */
export function emulatorNamed(path: string | undefined): string | undefined {
  return /qemu-system-([a-z0-9_]+)/.exec(path ?? "")?.[1];
}

/** What a program emulates at most: by its name, else by the CPU types it has. */
function emulated(program: Program, path: string | undefined): Architecture {
  const byName = EMULATORS.get(emulatorNamed(path) ?? "");
  if (byName !== undefined) return byName;
  const byType = TYPES.find(([name]) => program.type(name) !== undefined);
  return byType?.[1] ?? X86_64;
}

/** What the guest of a program is. */
export function architectureOf(program: Program, path: string | undefined): Promise<Architecture> {
  return architectureOfCpus(program, emulated(program, path));
}
