import type { AddressSpace } from "./address-space.js";
import { readUpTo, readU32, readU64 } from "./read.js";
import {
  type AddressForm,
  type AddressTable,
  addressOf,
  decodeAddresses,
  expandNames,
  type KallsymsTables,
} from "./kallsyms.js";
import { findByShape, type KallsymsPlaces } from "./kallsyms-shape.js";
import { symbolEntry, type VmcoreInfoMap } from "./kernel-tables.js";
import { absent, damaged, LINUX_RULES } from "./rules.js";
import { SymbolTable } from "./symbols.js";
import { latin1Bytes } from "../binary/layout.js";
import { hashName, type SymbolNames } from "./kallsyms.js";

/** Bytes of compressed names; a kernel with everything built in has 4 MiB. */
const MOST_NAMES = 64 << 20;
/** Bytes of the table of tokens: its index counts in 16 bits. */
const MOST_TOKENS = 1 << 16;
const MOST_SYMBOLS = 1 << 23;

/** The kernel's symbols and how they were found. */
export interface Kallsyms {
  readonly table: SymbolTable;
  readonly form: AddressForm;
  /** Whether VMCOREINFO named the tables; else they were found by their shape. */
  readonly named: boolean;
}

/**
 * Finds and decodes the kernel's symbol table.
 *
 * @throws AbsentError `linux/kallsyms/absent`, FormatError `linux/kallsyms/damaged`
 */
export async function readKallsyms(space: AddressSpace, info: VmcoreInfoMap): Promise<Kallsyms> {
  const named = namedPlaces(info);
  if (named !== undefined) return { ...(await decode(space, info, named)), named: true };
  const text = symbolEntry(info, "_stext");
  const found = text === undefined ? undefined : await findByShape(space, text);
  if (found === undefined)
    throw absent(
      LINUX_RULES.noKallsyms,
      "the kernel's symbols can't be had: VMCOREINFO does not name kallsyms, and nothing in the kernel's image has its shape",
    );
  return { ...(await decode(space, info, found)), named: false };
}

function namedPlaces(info: VmcoreInfoMap): KallsymsPlaces | undefined {
  const names = symbolEntry(info, "kallsyms_names");
  const count = symbolEntry(info, "kallsyms_num_syms");
  const tokenTable = symbolEntry(info, "kallsyms_token_table");
  const tokenIndex = symbolEntry(info, "kallsyms_token_index");
  if (names === undefined || count === undefined || tokenTable === undefined || tokenIndex === undefined)
    return undefined;
  const offsets = symbolEntry(info, "kallsyms_offsets");
  const addresses = symbolEntry(info, "kallsyms_addresses");
  const base = symbolEntry(info, "kallsyms_relative_base");
  return {
    names,
    count,
    tokenTable,
    tokenIndex,
    ...(offsets === undefined
      ? {}
      : { offsets: [{ table: offsets, ...(base === undefined ? {} : { base }) }] }),
    ...(addresses === undefined ? {} : { addresses: [addresses] }),
  };
}

async function decode(
  space: AddressSpace,
  info: VmcoreInfoMap,
  places: KallsymsPlaces,
): Promise<Omit<Kallsyms, "named">> {
  const count = await readU32(space, places.count);
  if (count === undefined)
    throw absent(
      LINUX_RULES.noKallsyms,
      `the kernel's symbols can't be had: ${await space.whyUnreadable(places.count)}`,
    );
  if (count === 0 || count > MOST_SYMBOLS)
    throw damaged(LINUX_RULES.badKallsyms, `kallsyms announces ${count} symbols`);
  const length = Number(places.tokenTable - places.names);
  if (length <= 0 || length > MOST_NAMES)
    throw damaged(LINUX_RULES.badKallsyms, "the tokens of kallsyms don't follow its names");
  const tables: KallsymsTables = {
    count,
    names: await readUpTo(space, places.names, length),
    tokenTable: await readUpTo(space, places.tokenTable, MOST_TOKENS),
    tokenIndex: await readUpTo(space, places.tokenIndex, 512),
  };
  if (tables.names.length < length)
    throw absent(
      LINUX_RULES.noKallsyms,
      `the kernel's symbols can't be had: ${await space.whyUnreadable(places.names + BigInt(tables.names.length))}`,
    );
  const names = expandNames(tables);
  const candidates = await addressTables(space, places, count);
  const known = knownSymbols(info, names);
  const best = bestForm(candidates, known);
  if (best === undefined)
    throw damaged(
      LINUX_RULES.badKallsyms,
      "no known form of kallsyms addresses agrees with the symbols that VMCOREINFO names",
    );
  const addresses = decodeAddresses(best.table, best.form, count);
  if (addresses.length < count)
    throw absent(
      LINUX_RULES.noKallsyms,
      `the addresses of kallsyms break off after ${addresses.length} of ${count}: ${await space.whyUnreadable(best.table.place + BigInt(best.table.bytes.length))}`,
    );
  return { table: new SymbolTable(names, addresses), form: best.form };
}

interface Candidate {
  readonly table: AddressTable;
  readonly forms: readonly AddressForm[];
}

async function addressTables(
  space: AddressSpace,
  places: KallsymsPlaces,
  count: number,
): Promise<Candidate[]> {
  const found: Candidate[] = [];
  for (const { table: place, base: baseAt } of places.offsets ?? []) {
    const bytes = await readUpTo(space, place, count * 4);
    const base = baseAt === undefined ? undefined : await readU64(space, baseAt);
    if (base === undefined) found.push({ table: { bytes, place }, forms: ["self-relative"] });
    else
      found.push({
        table: { bytes, place, base },
        forms: ["absolute-percpu", "base-relative", "self-relative"],
      });
  }
  for (const place of places.addresses ?? [])
    found.push({ table: { bytes: await readUpTo(space, place, count * 8), place }, forms: ["absolute"] });
  return found;
}

/** Symbols whose addresses VMCOREINFO gives: place in the table of names → address. */
function knownSymbols(info: VmcoreInfoMap, names: SymbolNames): ReadonlyMap<number, bigint> {
  const wanted = new Map<number, { readonly name: Uint8Array; readonly address: bigint }>();
  for (const key of info.keys()) {
    const [, name] = /^SYMBOL\((\w{1,64})\)$/.exec(key) ?? [];
    const address = name === undefined ? undefined : symbolEntry(info, name);
    if (name === undefined || address === undefined) continue;
    const bytes = latin1Bytes(name);
    wanted.set(hashName(bytes), { name: bytes, address });
  }
  const known = new Map<number, bigint>();
  for (let i = 0; i < names.count; i += 1) {
    const entry = wanted.get(names.hashes[i] ?? 0);
    if (entry === undefined) continue;
    const text = names.text.subarray(names.starts[i], names.starts[i + 1]);
    if (text.length === entry.name.length && text.every((byte, at) => byte === entry.name[at]))
      known.set(i, entry.address);
  }
  return known;
}

function bestForm(
  candidates: readonly Candidate[],
  known: ReadonlyMap<number, bigint>,
): { readonly table: AddressTable; readonly form: AddressForm } | undefined {
  let best: { table: AddressTable; form: AddressForm; score: number } | undefined;
  for (const { table, forms } of candidates) {
    for (const form of forms) {
      let score = 0;
      for (const [index, address] of known) if (addressOf(table, form, index) === address) score += 1;
      if (score > (best?.score ?? 0)) best = { table, form, score };
    }
  }
  return best;
}
