import type { ByteSink } from "../../io/byte-sink.js";
import type { Kernel } from "../kernel.js";
import { kernelBtf } from "./kernel-btf.js";

/** Kinds of symbol files. */
export type SymbolFileKind = "isf" | "vmlinux" | "kallsyms" | "btf";

/** Numbers of what was written, by name. */
export type SymbolFileSummary = Record<string, number>;

/** Writers of symbol files. Each throws AbsentError or FormatError that says what of the kernel is missing. */
export const SYMBOL_FILES: Readonly<
  Record<SymbolFileKind, (kernel: Kernel, sink: ByteSink) => Promise<SymbolFileSummary>>
> = {
  isf: async (kernel, sink) => ({ ...(await (await import("./isf.js")).writeIsf(kernel, sink)) }),
  vmlinux: async (kernel, sink) => ({ ...(await (await import("./vmlinux.js")).writeVmlinux(kernel, sink)) }),
  kallsyms: async (kernel, sink) => ({
    symbols: await (await import("./kallsyms-text.js")).writeKallsyms(kernel, sink),
  }),
  btf: async (kernel, sink) => {
    const btf = kernelBtf(kernel);
    await sink.write(btf.bytes);
    return { types: btf.endId - 1, bytes: btf.bytes.length };
  },
};
