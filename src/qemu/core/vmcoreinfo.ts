import { latin1, layout, u16, u32, u64 } from "../../binary/layout.js";
import { nhdr } from "../../elf/layout.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import type { VmcoreInfo } from "../../guest/image.js";
import type { PhysicalMemory } from "../../guest/memory.js";
import { readable } from "./machine.js";
import type { Program } from "./value.js";

/** What the guest wrote to the vmcoreinfo device: always little endian. */
const fwCfgVmcoreInfo = layout("FWCfgVMCoreInfo", "QEMU docs/specs/vmcoreinfo", {
  host_format: u16("formats QEMU takes"),
  guest_format: u16("1: an ELF note"),
  size: u32("bytes of room for the note"),
  paddr: u64("guest-physical address of the note"),
});

const FORMAT_ELF = 1;
const LONGEST = 1 << 20;
const HEADER = 12;

/** A note found through the vmcoreinfo device. */
export interface DeviceNote {
  readonly name: string;
  readonly type: number;
  readonly descriptor: Uint8Array;
  readonly gpa: number;
}

/**
 * The note that the guest registered with the vmcoreinfo device; undefined when there is no device, nothing was
 * registered, or what was registered is not in memory. `doubt` gets what is wrong with it.
 */
export async function deviceNote(
  program: Program,
  memory: PhysicalMemory,
  arch: Architecture,
  doubt: (text: string) => void,
): Promise<DeviceNote | undefined> {
  const state = await readable(async () =>
    (await program.variable("vmcoreinfo_realize::vmcoreinfo_state"))?.target(),
  );
  if (state === undefined || !state.flag("has_vmcoreinfo")) return undefined;
  const at = state.type.field("vmcoreinfo");
  if (at === undefined || at.size < fwCfgVmcoreInfo.size) return undefined;
  const bytes = await program.bytes(state.address + at.offset, fwCfgVmcoreInfo.size, "vmcoreinfo");
  const { guest_format, size, paddr } = fwCfgVmcoreInfo.decode(bytes, "little");
  if (guest_format !== FORMAT_ELF) return undefined;
  const refuse = (why: string): undefined => {
    doubt(
      `the note that the guest gave the vmcoreinfo device (at 0x${paddr.toString(16)}) is ignored: ${why}`,
    );
    return undefined;
  };
  const head = new Uint8Array(HEADER);
  if ((await memory.read(paddr, head)) < HEADER) return refuse("not in the memory saved");
  const { n_namesz, n_descsz, n_type } = nhdr.decode(head, arch.order);
  const nameRoom = Math.ceil(n_namesz / 4) * 4;
  if (n_descsz > LONGEST || n_namesz > LONGEST || HEADER + nameRoom + n_descsz > size)
    return refuse(`name of ${n_namesz} and text of ${n_descsz} bytes do not fit into ${size}`);
  const body = new Uint8Array(nameRoom + n_descsz);
  if ((await memory.read(paddr + HEADER, body)) < body.length) return refuse("not all in the memory saved");
  const name = latin1(body.subarray(0, n_namesz)).replace(/\0[^]*$/, "");
  return { name, type: n_type, descriptor: body.slice(nameRoom), gpa: paddr };
}

/** The text of a device's note, if it is a VMCOREINFO note. */
export function vmcoreInfoOf(note: DeviceNote): VmcoreInfo | undefined {
  return note.name === "VMCOREINFO" ? { text: latin1(note.descriptor), gpa: note.gpa } : undefined;
}
