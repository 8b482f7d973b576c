import type { ByteSink } from "../../io/byte-sink.js";
import type { Kernel } from "../kernel.js";
import { TextOutput } from "./text-output.js";

/**
 * Writes the kernel's symbols as /proc/kallsyms shows them: address, nm's letter, name, in the kernel's own order, at
 * their run-time addresses. Symbols of modules are not among them.
 *
 * @returns how many symbols were written.
 * @throws AbsentError, FormatError that says why there are none.
 */
export async function writeKallsyms(kernel: Kernel, sink: ByteSink): Promise<number> {
  const symbols = kernel.needSymbols();
  const out = new TextOutput(sink);
  for (const { address, letter, name } of symbols) {
    out.add(`${address.toString(16).padStart(16, "0")} ${letter} ${name}\n`);
    await out.drain();
  }
  await out.flush();
  return symbols.size;
}
