import { layoutSection } from "../../binary/layout.js";
import type { InputFormat } from "../../guest/input-format.js";
import { isSave } from "./layout.js";

/** What `virsh save` and managed saves write. */
export const libvirtQemuSave: InputFormat = {
  id: "libvirt-qemu-save",
  title: "libvirt save file of a QEMU guest",
  matches: isSave,
  matchesDamaged: async (input) => (await import("./head.js")).isDamagedSave(input),
  rules: async () => [
    { title: "libvirt save files of QEMU guests", rules: (await import("./rules.js")).LIBVIRT_SAVE_RULES },
  ],
  layouts: async () => [layoutSection("libvirt-save", await import("./layout.js"))],
  reader: {
    access: "sequential",
    verify: async (input, diagnostics, options) =>
      (await import("./verify.js")).verifySave(input, diagnostics, options),
    inspect: async (input, options) => (await import("./inspect.js")).inspectSave(input, options),
    openGuest: async (input, options) => (await import("./guest.js")).openSavedGuest(input, options),
  },
};
