import type { OutputFormat } from "../../guest/output-format.js";

/** LiME dumps, which volatility opens: memory and nothing else. */
export const limeOutput: OutputFormat = {
  id: "lime",
  title: "LiME memory dump",
  extensions: [".lime"],
  holds: { vcpus: false, vmcoreInfo: false },
  compressions: [],
  load: async () => (await import("./write.js")).limeWriter,
};
