import type { OutputFormat } from "../../guest/output-format.js";

/** ELF vmcores, which crash, drgn, makedumpfile, gdb and readelf open. */
export const elfOutput: OutputFormat = {
  id: "elf",
  title: "ELF vmcore",
  extensions: [".elf", ".vmcore", ".core"],
  holds: { vcpus: true, vmcoreInfo: true },
  compressions: [],
  load: async () => (await import("./write.js")).elfWriter,
};
