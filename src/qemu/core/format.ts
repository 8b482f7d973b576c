import { layoutSection, viewOf } from "../../binary/layout.js";
import { elfLayouts, ELF_MAGIC, ELFCLASS64, ELFDATA2LSB, ET_CORE, PT_LOAD } from "../../elf/layout.js";
import type { InputFormat } from "../../guest/input-format.js";

/** The core of a QEMU system emulator, written by the kernel or by gcore. */
export const qemuCore: InputFormat = {
  id: "qemu-core",
  title: "core of a process (QEMU)",
  matches: isProcessCore,
  rules: async () => [
    { title: "QEMU cores and processes", rules: (await import("./rules.js")).QEMU_CORE_RULES },
  ],
  layouts: async () => [
    layoutSection("elf", await import("../../elf/layout.js")),
    layoutSection("qemu/core", await import("./by-command-line/layout.js")),
  ],
  reader: {
    access: "random",
    async inspect(input, options) {
      const [{ inspectProcess }, { openCore }] = await opening();
      return inspectProcess(await openCore(input), "core", options);
    },
    async openGuest(input, options) {
      const [{ openQemuGuest }, { openCore }] = await opening();
      return openQemuGuest(await openCore(input), "QEMU process core", options);
    },
  },
};

const opening = (): Promise<[typeof import("./open.js"), typeof import("./guest.js")]> =>
  Promise.all([import("./open.js"), import("./guest.js")]);

/** An ELF core whose segments have virtual addresses only: of a process, not of a machine. */
function isProcessCore(head: Uint8Array): boolean {
  const { ehdr, phdr } = elfLayouts(head[4] === ELFCLASS64 ? 64 : 32);
  if (head.length < ehdr.size || !ELF_MAGIC.every((byte, i) => head[i] === byte)) return false;
  const order = head[5] === ELFDATA2LSB ? "little" : "big";
  const view = viewOf(head);
  const type = ehdr.offsetOf("e_type");
  if (view.getUint16(type, order === "little") !== ET_CORE) return false;
  const small = head[4] === ELFCLASS64 ? 8 : 4;
  const word = (at: number): bigint =>
    small === 8 ? view.getBigUint64(at, order === "little") : BigInt(view.getUint32(at, order === "little"));
  const table = word(ehdr.offsetOf("e_phoff"));
  // out of sight: dumps of machines have been tried before
  if (table > BigInt(head.length)) return true;
  const count = view.getUint16(ehdr.offsetOf("e_phnum"), order === "little");
  const last = Math.min(head.length, Number(table) + count * phdr.size) - phdr.size;
  let virtual = false;
  for (let at = Number(table); at <= last; at += phdr.size) {
    if (view.getUint32(at, order === "little") !== PT_LOAD) continue;
    if (word(at + phdr.offsetOf("p_paddr")) !== 0n) return false;
    virtual ||= word(at + phdr.offsetOf("p_vaddr")) !== 0n;
  }
  return virtual;
}
