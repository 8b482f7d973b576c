import { layoutSection } from "../../binary/layout.js";
import type { InputFormat } from "../../guest/input-format.js";
import type { OpenOptions } from "../../guest/options.js";
import { type ByteSource, type ByteStream, isByteSource, readFully } from "../../io/byte-source.js";
import { isQevm } from "./detect.js";

/** Where the stream begins: where options say, at the file's start, or after what a program put in front of it. */
async function startOf(input: ByteSource | ByteStream, { qemu }: Pick<OpenOptions, "qemu">): Promise<number> {
  if (qemu?.offset !== undefined) return qemu.offset;
  if (!isByteSource(input)) return 0;
  const head = new Uint8Array(4);
  await readFully(input, 0, head);
  return isQevm(head) ? 0 : ((await (await import("./find-start.js")).findStreamStart(input)) ?? 0);
}

/** A QEMU migration stream in a file: `migrate "exec:cat > f"`, `migrate file:f`, `virsh dump`. */
export const qemuMigration: InputFormat = {
  id: "qemu-migration",
  title: "QEMU migration stream",
  matches: isQevm,
  matchesDamaged: async (input) => (await import("./head.js")).isDamagedStream(input),
  rules: async () => [
    { title: "QEMU migration files", rules: (await import("./rules.js")).QEMU_MIGRATION_RULES },
  ],
  layouts: async () => [
    layoutSection(
      "qemu-migration",
      ...(await Promise.all([
        import("./layout.js"),
        import("./channels/layout.js"),
        import("./machine/layout.js"),
      ])),
    ),
  ],
  reader: {
    access: "sequential",
    async verify(input, diagnostics, options) {
      const start = await startOf(input, options);
      if (start > 0 && options.qemu?.offset === undefined && isByteSource(input))
        await (await import("./before-stream.js")).reportFront(input, start, diagnostics);
      await (await import("./verify.js")).verifyStream(input, diagnostics, options, start);
    },
    inspect: async (input, options) =>
      (await import("./inspect.js")).inspectStream(input, options, { start: await startOf(input, options) }),
    async openGuest(input, options) {
      const { BARE, openStream } = await import("./guest.js");
      const start = await startOf(input, options);
      const guest = await openStream(input, options, { ...BARE, start });
      if (options.partial !== true || options.qemu?.offset !== undefined || start === 0) return guest;
      return (await import("./before-stream.js")).withLostFront(guest, input, start);
    },
  },
};
