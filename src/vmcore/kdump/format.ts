import { latin1, layoutSection } from "../../binary/layout.js";
import type { InputFormat } from "../../guest/input-format.js";
import { DISKDUMP_SIGNATURE, FLATTENED_SIGNATURE, KDUMP_SIGNATURE } from "./layout.js";

/** kdump-compressed dumps of makedumpfile and QEMU: plain, flattened, split. A flattened ELF vmcore is read as the ELF it holds. */
export const kdump: InputFormat = {
  id: "kdump",
  title: "kdump-compressed dump",
  matches(head) {
    const start = latin1(head.subarray(0, 16));
    return [KDUMP_SIGNATURE, DISKDUMP_SIGNATURE, `${FLATTENED_SIGNATURE}\0`].some((signature) =>
      start.startsWith(signature),
    );
  },
  rules: async () => [{ title: "kdump", rules: (await import("./rules.js")).KDUMP_RULES }],
  layouts: async () => [layoutSection("kdump", await import("./layout.js"))],
  reader: {
    access: "random",
    async verify(input, diagnostics, options) {
      const { flattenedElf, verifyFlattenedElf } = await import("./flattened-elf.js");
      const elf = await flattenedElf(input);
      if (elf !== undefined) return verifyFlattenedElf(elf.source, diagnostics);
      return (await import("./verify.js")).verifyKdump(input, diagnostics, options);
    },
    async inspect(input, options) {
      const elf = await (await import("./flattened-elf.js")).flattenedElf(input, true);
      if (elf !== undefined) return (await import("../elf/inspect.js")).inspectElf(elf.source, options);
      return (await import("./inspect.js")).inspectKdump(input, options);
    },
    async openGuest(input, options) {
      const { flattenedElf, openFlattenedElf } = await import("./flattened-elf.js");
      const elf = await flattenedElf(input, options.partial);
      if (elf !== undefined) return openFlattenedElf(elf, options);
      return (await import("./guest.js")).openKdumpGuest(input, options);
    },
  },
};
