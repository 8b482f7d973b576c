import type { OutputFormat } from "../../guest/output-format.js";

/** Raw images: the byte at guest-physical address A is at offset A. */
export const rawOutput: OutputFormat = {
  id: "raw",
  title: "raw memory",
  extensions: [".raw", ".bin", ".img"],
  holds: { vcpus: false, vmcoreInfo: false },
  compressions: [],
  load: async () => (await import("./write.js")).rawWriter,
};
