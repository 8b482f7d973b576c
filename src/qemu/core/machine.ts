import { AbsentError, FormatError } from "../../findings/errors.js";
import { objectTypeName, type Program } from "./value.js";

/** What QEMU's global state says of the machine. */
export interface Machine {
  /** QOM type without its suffix: `pc-i440fx-7.2`. */
  readonly name: string | undefined;
  /** `-machine dump-guest-core`; undefined where it can't be read. */
  readonly dumpGuestCore: boolean | undefined;
  /** `-m`, bytes. */
  readonly ramSize: number | undefined;
  /** `tcg`, `kvm`, `xen` …; undefined where it can't be read. */
  readonly accelerator: string | undefined;
  /** Version of QEMU, as far as the newest machine type of its kind shows it: `7.2`. */
  readonly version: string | undefined;
}

const UNKNOWN: Machine = {
  name: undefined,
  dumpGuestCore: undefined,
  ramSize: undefined,
  accelerator: undefined,
  version: undefined,
};

/** Reads `current_machine`; what is not there is left undefined. */
export async function readMachine(program: Program): Promise<Machine> {
  const state = await readable(async () => (await program.variable("current_machine"))?.target());
  if (state === undefined) return UNKNOWN;
  const name = (await objectTypeName(program, state.address))?.replace(/-machine$/, "");
  const accelerator = state.has("accelerator")
    ? (await objectTypeName(program, state.number("accelerator")))?.replace(/-accel$/, "")
    : await readable(async () => {
        const kvm = await program.variable("kvm_allowed");
        return kvm === undefined ? undefined : kvm.asNumber() !== 0 ? "kvm" : "tcg";
      });
  return {
    name,
    dumpGuestCore: state.has("dump_guest_core") ? state.flag("dump_guest_core") : undefined,
    ramSize: state.has("ram_size") ? state.number("ram_size") : undefined,
    accelerator,
    version: await versionOf(program, state.address, name),
  };
}

/** Only the newest machine type of a family has an alias (`pc`, `q35`): its version is QEMU's. */
async function versionOf(
  program: Program,
  address: number,
  name: string | undefined,
): Promise<string | undefined> {
  const version = /-(\d+\.\d+)$/.exec(name ?? "")?.[1];
  const object = program.type("Object");
  const machineClass = program.type("MachineClass");
  if (version === undefined || object === undefined || machineClass === undefined) return undefined;
  return readable(async () => {
    const base = await (await program.read(object, address, "current_machine")).follow("class");
    const value = await base?.as(machineClass);
    return value !== undefined && value.numberOr0("alias") !== 0 ? version : undefined;
  });
}

const BACKEND = /^memory-backend-/;

/** Whether a memory backend's contents are kept out of cores (`dump=off`); undefined: not a backend, or can't be read. */
export async function backendDumped(program: Program, owner: number): Promise<boolean | undefined> {
  if (!BACKEND.test((await objectTypeName(program, owner)) ?? "")) return undefined;
  const type = program.type("HostMemoryBackend");
  if (type?.field("dump") === undefined) return undefined;
  return readable(async () => (await program.read(type, owner, "HostMemoryBackend")).flag("dump"));
}

/** What a reader gives, or undefined when the core lacks what it asks for. */
export async function readable<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof AbsentError || error instanceof FormatError) return undefined;
    throw error;
  }
}
