import { type Machine, machineNamed, ramBelow } from "../machines.js";
import { isOn, optionsOf, type QemuOption, type Settings, settingsOf, sizeOf } from "./options.js";

/** A block of RAM that a command line asks for. */
export interface AskedBlock {
  /** As QEMU names the block: the backend's id, or the machine's own name for it. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** File (or directory of files) that backs it. */
  readonly path?: string;
  /** Memory of a file descriptor, a named file's or not. */
  readonly isShared: boolean;
  /** Its contents are kept out of cores: `dump=off`. */
  readonly isLeftOut: boolean;
}

/** Memory that a device brings. */
export interface AskedDevice {
  readonly driver: string;
  readonly block: AskedBlock;
  /** Guest-physical address, where the command line says. */
  readonly address?: number;
}

/** The memory of a machine as a command line asks for it. */
export interface AskedMemory {
  /** Type of the machine as given: `pc`, `pc-q35-7.2`. */
  readonly type: string;
  /** Undefined: its memory map isn't known. */
  readonly machine: Machine | undefined;
  /** `-m`, bytes. */
  readonly size: number;
  /** RAM that the machine is built with, in the order of its addresses. */
  readonly blocks: readonly AskedBlock[];
  readonly devices: readonly AskedDevice[];
  /** Bytes of it below 4 GiB, of machines that part it there. */
  readonly below: number | undefined;
  /** Whether a display shows its window at a0000. */
  readonly hasVga: boolean;
  readonly dumpGuestCore: boolean;
  readonly accelerator: string | undefined;
  /** What of the command line can't be followed, one phrase each: it may bear on memory. */
  readonly unclear: readonly string[];
}

const MIB = 1 << 20;
const DEFAULT_RAM = 128 * MIB;
/** `-m` counts in these. */
const RAM_UNIT = 8192;
/** Machines that emulators start without `-machine`. */
const DEFAULT_MACHINES: ReadonlyMap<string, string> = new Map([
  ["x86_64", "pc"],
  ["i386", "pc"],
  ["ppc64", "pseries"],
  ["s390x", "s390-ccw-virtio"],
]);
/** Displays with VGA's window at a0000. */
const VGA = /(^|\/)([a-z]+[-_])?vga$|\/?qxl$/i;
const MEMORY_DEVICE = /^(pc-dimm|nvdimm|virtio-mem(-pci)?|virtio-pmem(-pci)?|cxl-type3|sgx-epc)$/;

/**
 * The memory that QEMU's arguments ask for.
 * @param emulator what the program emulates: `x86_64`
 */
export function memoryAskedFor(args: readonly string[], emulator: string | undefined): AskedMemory {
  const options = optionsOf(args);
  const machines = ofName(options, /^(machine|M)$/, "type");
  const machine = (key: string): string | undefined => machines.findLast((one) => one.has(key))?.get(key);
  const type = machine("type") ?? DEFAULT_MACHINES.get(emulator ?? "") ?? "";
  const kind = machineNamed(type, emulator);
  const given = ofName(options, /^m$/, "size").findLast((one) => one.has("size"));
  const size = Math.ceil((sizeOf(given?.get("size") ?? "", MIB) ?? DEFAULT_RAM) / RAM_UNIT) * RAM_UNIT;
  const backends = ofName(options, /^object$/, "qom-type").flatMap((one) => backendOf(one) ?? []);
  const devices = ofName(options, /^device$/, "driver");
  const blocks = ramBlocks(options, backends, { kind, size, backend: machine("memory-backend") });
  const limit = machine("max-ram-below-4g");
  return {
    type,
    machine: kind,
    size,
    blocks,
    devices: devices.flatMap((device) => memoryDevice(device, backends) ?? []),
    below:
      kind?.split === undefined
        ? undefined
        : ramBelow(kind.split, sum(blocks), limit === undefined ? undefined : sizeOf(limit)),
    hasVga: hasVga(options, devices, kind),
    dumpGuestCore: machines.every((one) => isOn(one, "dump-guest-core") !== false),
    accelerator: acceleratorOf(options, machine("accel")),
    unclear: unclear(options),
  };
}

const sum = (blocks: readonly AskedBlock[]): number => blocks.reduce((total, { size }) => total + size, 0);

function ofName(options: readonly QemuOption[], name: RegExp, implied: string): readonly Settings[] {
  return options.flatMap((option) => (name.test(option.name) ? [settingsOf(option.value, implied)] : []));
}

function backendOf(object: Settings): AskedBlock | undefined {
  const [type = "", id, size] = [object.get("qom-type"), object.get("id"), sizeOf(object.get("size") ?? "")];
  if (!type.startsWith("memory-backend-") || id === undefined || size === undefined) return undefined;
  const path = object.get("mem-path");
  return {
    name: id,
    size,
    ...(path === undefined ? {} : { path }),
    isShared: path !== undefined || isOn(object, "share") === true || /-(memfd|shm)$/.test(type),
    isLeftOut: isOn(object, "dump") === false,
  };
}

/** The machine's own memory: a backend, a backend for each node in their order, or a block of the machine's own. */
function ramBlocks(
  options: readonly QemuOption[],
  backends: readonly AskedBlock[],
  own: { readonly kind: Machine | undefined; readonly size: number; readonly backend: string | undefined },
): readonly AskedBlock[] {
  const named = (id: string | undefined): AskedBlock | undefined =>
    id === undefined ? undefined : backends.find(({ name }) => name === id);
  let next = 0;
  const nodes = ofName(options, /^numa$/, "type").flatMap((node) => {
    if (node.get("type") !== "node") return [];
    const id = Number(node.get("nodeid") ?? next);
    next = id + 1;
    const block = named(node.get("memdev"));
    return block === undefined ? [] : [{ id, block }];
  });
  if (nodes.length > 0) return nodes.sort((a, b) => a.id - b.id).map(({ block }) => block);
  const backend = named(own.backend);
  if (backend !== undefined) return [backend];
  const path = options.findLast(({ name }) => name === "mem-path")?.value;
  return [
    {
      name: own.kind?.ram ?? "ram",
      size: own.size,
      ...(path === undefined ? {} : { path }),
      isShared: path !== undefined,
      isLeftOut: false,
    },
  ];
}

function memoryDevice(device: Settings, backends: readonly AskedBlock[]): AskedDevice | undefined {
  const driver = device.get("driver") ?? "";
  if (!MEMORY_DEVICE.test(driver)) return undefined;
  const id = device.get("memdev") ?? device.get("volatile-memdev");
  const block = backends.find(({ name }) => name === id);
  if (block === undefined) return undefined;
  const addr = sizeOf(device.get(driver.startsWith("virtio-") ? "memaddr" : "addr") ?? "");
  return { driver, block, ...(addr === undefined || addr === 0 ? {} : { address: addr }) };
}

function hasVga(
  options: readonly QemuOption[],
  devices: readonly Settings[],
  kind: Machine | undefined,
): boolean {
  if (devices.some((device) => VGA.test(device.get("driver") ?? ""))) return true;
  if (kind?.split === undefined || kind.kind === "microvm") return false;
  const card = options.findLast(({ name }) => name === "vga")?.value;
  if (card !== undefined) return card !== "none";
  return !options.some(({ name }) => name === "nodefaults");
}

function acceleratorOf(options: readonly QemuOption[], machine: string | undefined): string | undefined {
  const [first] = ofName(options, /^accel$/, "accel").flatMap((one) => one.get("accel") ?? []);
  if (first !== undefined) return first;
  // a list is tried in turn: which one it became isn't there
  if (machine !== undefined) return machine.includes(":") ? undefined : machine;
  return options.some(({ name }) => name === "enable-kvm") ? "kvm" : undefined;
}

function unclear(options: readonly QemuOption[]): readonly string[] {
  const seen = options.flatMap(({ name, value }) => {
    if (name === "readconfig") return [`options in ${value}`];
    if (name === "set" && /^(memory|machine|object|numa|device)\b/.test(value)) return [`-set ${value}`];
    return [];
  });
  return [...new Set(seen)];
}
