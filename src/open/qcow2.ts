import { layoutSection } from "../binary/layout.js";
import { isQcow2 } from "../disk/qcow2/header.js";
import type { InputFormat } from "../guest/input-format.js";

/**
 * A disk image of QEMU with internal snapshots of running guests. Each holds the guest's state as a QEMU migration
 * stream. The disk's format and QEMU's don't know each other, so they meet here.
 */
export const qcow2: InputFormat = {
  id: "qcow2",
  title: "qcow2 disk image",
  matches: isQcow2,
  rules: async () => [
    { title: "qcow2 disk images", rules: (await import("../disk/qcow2/rules.js")).QCOW2_RULES },
  ],
  layouts: async () => [layoutSection("qcow2", await import("../disk/qcow2/layout.js"))],
  reader: {
    access: "random",
    verify: async (input, diagnostics, options) =>
      (await import("./qcow2-state.js")).verifyImage(input, diagnostics, options.qcow2?.snapshot),
    inspect: async (input, options) =>
      (await import("./qcow2-state.js")).inspectImage(input, options, options.qcow2?.snapshot),
    openGuest: async (input, options) =>
      (await import("./qcow2-state.js")).openImage(input, options, options.qcow2?.snapshot),
  },
};
