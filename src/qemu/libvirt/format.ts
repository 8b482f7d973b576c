import type { InputFormat } from "../../guest/input-format.js";
import { isSave } from "./layout.js";

/** What `virsh save` and managed saves write. */
export const libvirtQemuSave: InputFormat = {
  id: "libvirt-qemu-save",
  title: "libvirt save file of a QEMU guest",
  matches: isSave,
  // loaded when asked for: starting up costs only what is used
  verify: async (input, report, options) => (await import("./guest.js")).verifySave(input, report, options),
  inspect: async (input, options) => (await import("./guest.js")).inspectSave(input, options),
  openGuest: async (input, options) => (await import("./guest.js")).openSavedGuest(input, options),
};
