import type { InputFormat } from "../../guest/input-format.js";
import { loadDecompressor } from "../../io/codecs/codec.js";
import { isQevm } from "./detect.js";

/** A QEMU migration stream in a file: `migrate "exec:cat > f"`, `migrate file:f`, `virsh dump`. */
export const qemuMigration: InputFormat = {
  id: "qemu-migration",
  title: "QEMU migration stream",
  matches: isQevm,
  // loaded when asked for: starting up costs only what is used
  async verify(input, report, options) {
    const { readStream } = await import("./read.js");
    await readStream(input, report, {
      checkCompressed: true,
      zlib: await loadDecompressor("zlib"),
      progress: options.progress,
    });
  },
  inspect: async (input, options) => (await import("./inspect.js")).inspectStream(input, options),
  openGuest: async (input, options) => (await import("./guest.js")).openStream(input, options),
};
