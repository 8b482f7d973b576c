import type { ByteSink } from "../../io/byte-sink.js";
import { latin1 } from "../../binary/layout.js";
import { VERSION } from "../../version.js";
import { BTF_KIND } from "../btf.js";
import type { Kernel } from "../kernel.js";
import { readUpTo } from "../read.js";
import { LINUX_RULES } from "../rules.js";
import { wellKnownType } from "./declared-type.js";
import { base64, IsfTypes, quoted } from "./isf-types.js";
import { kernelBtf } from "./kernel-btf.js";
import { linkAddress } from "./link-address.js";
import { TextOutput } from "./text-output.js";

const LONGEST_BANNER = 1024;

/** What was written. */
export interface IsfSummary {
  readonly symbols: number;
  readonly types: number;
}

/**
 * Writes the kernel's types and symbols as a symbol file of volatility3 (ISF 6.2.0, JSON). Addresses are those of the
 * linker. A banner that can't be read is noted: volatility3 then doesn't find the file by itself.
 *
 * @throws AbsentError, FormatError that says why symbols or types are missing.
 */
export async function writeIsf(kernel: Kernel, sink: ByteSink): Promise<IsfSummary> {
  const btf = kernelBtf(kernel);
  const symbols = kernel.needSymbols();
  const types = new IsfTypes(btf);
  const banner = await bannerOf(kernel);
  const out = new TextOutput(sink);
  out.add(
    `{"metadata":{"format":"6.2.0","producer":{"name":"guestscope","version":"${VERSION}"},"linux":{"symbols":[{"kind":"symtab","name":"kallsyms"}],"types":[]}},\n`,
  );
  let count = 0;
  const section = async (name: string, lines: Iterable<string>): Promise<void> => {
    out.add(`"${name}":{`);
    let separator = "\n";
    for (const line of lines) {
      out.add(separator + line);
      separator = ",\n";
      count += 1;
      await out.drain();
    }
    out.add("\n}");
  };
  await section("base_types", types.lines("base"));
  out.add(",\n");
  await section("user_types", types.lines("user"));
  out.add(",\n");
  await section("enums", types.lines("enum"));
  out.add(",\n");
  const typeCount = count;
  await section("symbols", symbolLines(kernel, types, banner));
  out.add("}\n");
  await out.flush();
  return { symbols: symbols.size, types: typeCount };
}

/** Lines of the symbols, each name once: the first in the kernel's own order. */
function* symbolLines(kernel: Kernel, types: IsfTypes, banner: string | undefined): Iterable<string> {
  const btf = kernelBtf(kernel);
  const seen = new Set<string>();
  for (const { name, address } of kernel.needSymbols()) {
    if (seen.has(name)) continue;
    seen.add(name);
    const at = linkAddress(kernel, address);
    if (name === "linux_banner" && banner !== undefined) {
      const type = `{"kind":"array","count":${banner.length},"subtype":{"kind":"base","name":"char"}}`;
      yield `"linux_banner":{"address":${at},"type":${type},"constant_data":"${base64(banner)}"}`;
      continue;
    }
    const declared = wellKnownType(btf, name, () => kernel.symbols?.place(address)?.size ?? 0);
    const variable = declared === undefined ? btf.find([BTF_KIND.variable], name) : undefined;
    const type =
      declared !== undefined
        ? types.declared(declared)
        : variable !== undefined
          ? types.describe(btf.head(variable)?.sizeOrType ?? 0)
          : undefined;
    yield type === undefined
      ? `${quoted(name)}:{"address":${at}}`
      : `${quoted(name)}:{"address":${at},"type":${type}}`;
  }
}

/** The kernel's banner with its newline and its NUL, by which volatility3 knows the kernel. */
async function bannerOf(kernel: Kernel): Promise<string | undefined> {
  const address = kernel.symbol("linux_banner");
  const bytes = address === undefined ? undefined : await readUpTo(kernel.space, address, LONGEST_BANNER);
  const end = bytes?.indexOf(0) ?? -1;
  if (bytes !== undefined && end > 0) return latin1(bytes.subarray(0, end + 1));
  kernel.note(
    LINUX_RULES.memory,
    "the kernel's banner is missing: programs that look for the symbol file by it will not find it",
  );
  return undefined;
}
