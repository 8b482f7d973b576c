import { latin1, layoutSection } from "../../binary/layout.js";
import { Report } from "../../findings/report.js";
import type { InputFormat } from "../../guest/input-format.js";
import { withMoreLost } from "../../guest/salvage.js";
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
  matchesDamaged: async (input) =>
    (await (await import("./mend-signature.js")).mendSignature(input)) !== undefined,
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
    async inspect(given, options) {
      const mended = await (await import("./mend-signature.js")).mendSignature(given);
      const input = mended?.source ?? given;
      const elf = await (await import("./flattened-elf.js")).flattenedElf(input, true);
      const inspection =
        elf === undefined
          ? await (await import("./inspect.js")).inspectKdump(input, options)
          : await (await import("../elf/inspect.js")).inspectElf(elf.source, options);
      if (mended === undefined) return inspection;
      const report = new Report(given.name);
      const { KDUMP_RULES } = await import("./rules.js");
      report.report(
        KDUMP_RULES.signature,
        { offset: 0 },
        `${mended.lost.what ?? "the signature"} is damaged`,
      );
      return { ...inspection, damage: [...report.findings, ...inspection.damage] };
    },
    async openGuest(given, options) {
      const mended =
        options.partial === true
          ? await (await import("./mend-signature.js")).mendSignature(given)
          : undefined;
      const input = mended?.source ?? given;
      const { flattenedElf, openFlattenedElf } = await import("./flattened-elf.js");
      const elf = await flattenedElf(input, options.partial);
      const guest =
        elf === undefined
          ? await (await import("./guest.js")).openKdumpGuest(input, options)
          : await openFlattenedElf(elf, options);
      return mended === undefined ? guest : withMoreLost(guest, { lost: [mended.lost] });
    },
  },
};
