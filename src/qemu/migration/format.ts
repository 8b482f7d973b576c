import { layoutSection } from "../../binary/layout.js";
import type { InputFormat } from "../../guest/input-format.js";
import { isQevm } from "./detect.js";

/** A QEMU migration stream in a file: `migrate "exec:cat > f"`, `migrate file:f`, `virsh dump`. */
export const qemuMigration: InputFormat = {
  id: "qemu-migration",
  title: "QEMU migration stream",
  matches: isQevm,
  rules: async () => [
    { title: "QEMU migration files", rules: (await import("./rules.js")).QEMU_MIGRATION_RULES },
  ],
  layouts: async () => [
    layoutSection(
      "qemu-migration",
      ...(await Promise.all([import("./layout.js"), import("./machine/layout.js")])),
    ),
  ],
  reader: {
    access: "sequential",
    async verify(input, diagnostics, options) {
      await (await import("./verify.js")).verifyStream(input, diagnostics, options);
    },
    inspect: async (input, options) => (await import("./inspect.js")).inspectStream(input, options),
    openGuest: async (input, options) => (await import("./guest.js")).openStream(input, options),
  },
};
