import { layoutSection } from "../../binary/layout.js";
import type { InputFormat } from "../../guest/input-format.js";
import { isVmcore } from "./detect.js";

/** ELF vmcores of QEMU's dump-guest-memory, of the kernel (/proc/vmcore) and of this project. */
export const elfVmcore: InputFormat = {
  id: "elf-vmcore",
  title: "ELF vmcore",
  matches: isVmcore,
  matchesDamaged: async (input) => (await import("./rescue.js")).isDamagedElf(input),
  rules: async () => [{ title: "ELF vmcores", rules: (await import("./rules.js")).ELF_VMCORE_RULES }],
  layouts: async () => {
    const [elf, prstatus, notes, virtualBox] = await Promise.all([
      import("../../elf/layout.js"),
      import("../../elf/prstatus.js"),
      import("../notes.js"),
      import("./layout.js"),
    ]);
    return [layoutSection("elf", elf), layoutSection("vmcore-notes", prstatus, notes, virtualBox)];
  },
  reader: {
    access: "random",
    verify: async (input, diagnostics) => (await import("./verify.js")).verifyElf(input, diagnostics),
    inspect: async (input, options) => (await import("./inspect.js")).inspectElf(input, options),
    openGuest: async (input, options) => (await import("./guest.js")).openElfGuest(input, options),
  },
};
