import type { OutputFormat } from "../../guest/output-format.js";

/** Xen cores as `xl dump-core` writes them. */
export const xenCoreOutput: OutputFormat = {
  id: "xen-core",
  title: "Xen core (xl dump-core)",
  extensions: [".xen-core", ".xencore"],
  holds: { vcpus: true, vmcoreInfo: false },
  compressions: [],
  load: async () => (await import("./write.js")).xenCoreWriter,
};
