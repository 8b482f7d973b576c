import type { InputFormat } from "../../guest/input-format.js";
import { loadCodec } from "../../io/codecs/codec.js";
import { openStream } from "./guest-image.js";
import { inspectStream } from "./inspect.js";
import { isQevm, readStream } from "./stream.js";

/** A QEMU migration stream in a file: `migrate "exec:cat > f"`, `migrate file:f`, `virsh dump`. */
export const qemuMigration: InputFormat = {
  id: "qemu-migration",
  title: "QEMU migration stream",
  matches: isQevm,
  async verify(input, report, options) {
    await readStream(input, report, {
      checkCompressed: true,
      zlib: await loadCodec("zlib"),
      progress: options.progress,
    });
  },
  inspect: (input, options) => inspectStream(input, options),
  openGuest: (input, options) => openStream(input, options),
};
