import { AbsentError, FormatError } from "../../io/errors.js";
import type { Kernel } from "../kernel.js";
import { listModules } from "../modules.js";
import type { KernelObject } from "../object.js";
import { readUpTo } from "../read.js";
import { absent, damaged, hex } from "../rules.js";
import { type OrcEntry, type OrcLayout, orcLayout, withNumbering } from "./orc.js";
import { OrcTable, type OrcTablePlace } from "./orc-table.js";
import { STACK_RULES } from "./rules.js";

/** Code [start, end) that one table describes. */
interface CodeRange {
  readonly start: bigint;
  readonly end: bigint;
  readonly table: OrcTable;
}

/** Entries that are kept once found. */
const MOST_KEPT = 1 << 14;
/** Bytes of entries that show which numbers registers have. */
const SAMPLE = 6 * 2048;

/** The unwind tables of a kernel and its modules. */
export class OrcTables {
  readonly #kernel: Kernel;
  readonly #layout: OrcLayout;
  readonly #image: readonly CodeRange[];
  #modules: readonly CodeRange[] | undefined;
  readonly #kept = new Map<bigint, OrcEntry | undefined>();

  constructor(kernel: Kernel, layout: OrcLayout, image: readonly CodeRange[]) {
    this.#kernel = kernel;
    this.#layout = layout;
    this.#image = image;
  }

  /** See {@link OrcLayout}. */
  get offsetBeforeIndirection(): boolean {
    return this.#layout.offsetBeforeIndirection;
  }

  /**
   * The entry for an address of code; undefined where no table describes it.
   * @throws AbsentError, FormatError where its table is missing or damaged
   */
  async find(address: bigint): Promise<OrcEntry | undefined> {
    if (this.#kept.has(address)) return this.#kept.get(address);
    const entry = await (await this.#tableOf(address))?.find(address);
    if (this.#kept.size >= MOST_KEPT) this.#kept.clear();
    this.#kept.set(address, entry);
    return entry;
  }

  async #tableOf(address: bigint): Promise<OrcTable | undefined> {
    const holds = ({ start, end }: CodeRange): boolean => address >= start && address < end;
    const inImage = this.#image.find(holds);
    if (inImage !== undefined) return inImage.table;
    this.#modules ??= await this.#moduleTables();
    return this.#modules.find(holds)?.table;
  }

  async #moduleTables(): Promise<readonly CodeRange[]> {
    const kernel = this.#kernel;
    const ranges: CodeRange[] = [];
    try {
      for (const { object } of await listModules(kernel)) {
        if (!object.has("arch.num_orcs")) break;
        const place = {
          ips: object.pointer("arch.orc_unwind_ip"),
          entries: object.pointer("arch.orc_unwind"),
          count: object.number("arch.num_orcs"),
        };
        if (place.count === 0 || place.ips === 0n) continue;
        const table = new OrcTable(kernel.space, this.#layout, place);
        for (const range of codeOf(object)) ranges.push({ ...range, table });
      }
    } catch (error) {
      // frames in modules can't be left then: each says so itself
      if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
      kernel.note(STACK_RULES.noTables, `unwind tables of modules: ${error.message}`);
    }
    return ranges;
  }
}

/** Memory that holds a module's code: `mem[]` since Linux 6.4, `core_layout` and `init_layout` since 4.5. */
function codeOf(module: KernelObject): { start: bigint; end: bigint }[] {
  const places: [string, string][] = [
    // MOD_TEXT and MOD_INIT_TEXT
    ["mem[0].base", "mem[0].size"],
    ["mem[4].base", "mem[4].size"],
    ["core_layout.base", "core_layout.text_size"],
    ["init_layout.base", "init_layout.text_size"],
  ];
  return places.flatMap(([base, size]) => {
    if (!module.has(base) || !module.has(size)) return [];
    const start = module.pointer(base);
    const length = module.bigint(size);
    return start === 0n || length === 0n ? [] : [{ start, end: start + length }];
  });
}

/**
 * The unwind tables of a kernel; undefined for one that was built without them (it keeps frame pointers instead).
 * @throws AbsentError, FormatError `linux/stack/…` where they can't be found or are no tables
 */
export async function openOrcTables(kernel: Kernel): Promise<OrcTables | undefined> {
  const place = tablePlace(kernel);
  if (place === undefined) return undefined;
  const type = kernel.hasStruct("orc_entry") ? kernel.struct("orc_entry") : undefined;
  const plain = orcLayout(type, kernel.release ?? "");
  const { count, size } = place;
  if (count <= 0 || count * plain.size !== size) {
    throw damaged(STACK_RULES.badTables, `${count} unwind addresses go with ${size} bytes of entries`);
  }
  // the middle of the image's code, which is compiled: its start is assembly
  const middle = Math.floor(count / 2);
  const sample = await readUpTo(kernel.space, place.entries + BigInt(middle * plain.size), SAMPLE);
  if (sample.length < plain.size) {
    throw absent(STACK_RULES.noTables, `the unwind tables at ${hex(place.entries)} are not in the input`);
  }
  const layout = withNumbering(plain, sample);
  const table = new OrcTable(kernel.space, layout, place);
  return new OrcTables(
    kernel,
    layout,
    CODE.flatMap(([from, to]) => {
      const start = kernel.symbol(from);
      const end = kernel.symbol(to);
      return start === undefined || end === undefined || end <= start ? [] : [{ start, end, table }];
    }),
  );
}

/** Symbols around the image's code. */
const CODE: readonly (readonly [string, string])[] = [
  ["_stext", "_etext"],
  ["_sinittext", "_einittext"],
];

function tablePlace(kernel: Kernel): (OrcTablePlace & { readonly size: number }) | undefined {
  const names = ["__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "__stop_orc_unwind"];
  const [ips, ipsEnd, entries, entriesEnd] = names.map((name) => kernel.symbol(name));
  if (ips !== undefined && ipsEnd !== undefined && entries !== undefined && entriesEnd !== undefined) {
    return { ips, entries, count: Number(ipsEnd - ips) / 4, size: Number(entriesEnd - entries) };
  }
  kernel.needSymbols();
  // a kernel that names its variables would name the tables
  if (kernel.symbol("init_task") !== undefined) return undefined;
  throw absent(
    STACK_RULES.noTables,
    "the kernel's symbols don't name its unwind tables: it was built without CONFIG_KALLSYMS_ALL",
  );
}
