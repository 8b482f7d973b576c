import type { OutputFormat } from "../../guest/output-format.js";

/** kdump-compressed dumps as makedumpfile and QEMU write them. */
export const kdumpOutput: OutputFormat = {
  id: "kdump",
  title: "kdump-compressed dump",
  extensions: [".kdump", ".dump"],
  holds: { vcpus: true, vmcoreInfo: true },
  compressions: ["zlib", "lzo", "snappy", "zstd", "none"],
  async load(options) {
    const { createKdumpWriter, kdumpPacking } = await import("./write.js");
    return createKdumpWriter(options.startPackers?.(kdumpPacking(options), options.threads));
  },
};
