import { UsageError } from "../findings/errors.js";

/** A place in a guest's memory as a person names it. */
export interface Where {
  /** Guest-physical, virtual, or from a symbol of the kernel on. */
  readonly kind: "physical" | "virtual" | "symbol";
  /** The symbol's name; empty for addresses. */
  readonly symbol: string;
  /** The address, or bytes from the symbol. */
  readonly address: bigint;
  /** Bytes, where the text gives a range. */
  readonly length?: number;
}

const NUMBER = /^(?:0x[0-9a-f]{1,16}|\d{1,19})$/i;
const RANGE = /^(0x[0-9a-f]{1,16}|\d{1,19})-(0x[0-9a-f]{1,16}|\d{1,19})$/i;
const SYMBOL = /^([A-Za-z_.$][\w.$]*)(?:\+(0x[0-9a-f]{1,12}|\d{1,15}))?$/;
const LENGTH = /^(0x[0-9a-f]{1,13}|\d{1,15})([KMG]?)$/i;
const UNITS: Readonly<Record<string, number>> = { "": 1, K: 1 << 10, M: 1 << 20, G: 1 << 30 };
const TOP = 1n << 64n;

/**
 * Reads a place: `0x1000` and `4096` (physical), `0x1000-0x2000` (the end exclusive), `v:0xffff…` (virtual), `jiffies`,
 * `init_task+0x40`.
 * @throws UsageError for anything else
 */
export function parseWhere(text: string): Where {
  const isVirtual = text.startsWith("v:");
  const rest = isVirtual ? text.slice(2) : text;
  const kind = isVirtual ? "virtual" : "physical";
  const [, from, to] = RANGE.exec(rest) ?? [];
  if (from !== undefined && to !== undefined) {
    const address = BigInt(from);
    const length = Number(BigInt(to) - address);
    if (length > 0 && Number.isSafeInteger(length) && BigInt(to) <= TOP)
      return { kind, symbol: "", address, length };
    throw new UsageError(`${text}: a range's start must be below its end`);
  }
  if (NUMBER.test(rest) && BigInt(rest) < TOP) return { kind, symbol: "", address: BigInt(rest) };
  const [, symbol, offset = "0"] = SYMBOL.exec(rest) ?? [];
  if (symbol !== undefined && !isVirtual) return { kind: "symbol", symbol, address: BigInt(offset) };
  throw new UsageError(
    `${text}: expected an address (0x1000), a range (0x1000-0x2000), v:ADDRESS, or a kernel symbol (jiffies, init_task+0x40)`,
  );
}

/** Bytes of `4096`, `0x1000`, `64K`, `1M`, `2G`. @throws UsageError for anything else, and for nothing */
export function parseLength(text: string): number {
  const [, number, unit = ""] = LENGTH.exec(text) ?? [];
  const length = Number(number) * (UNITS[unit.toUpperCase()] ?? 0);
  if (Number.isSafeInteger(length) && length > 0) return length;
  throw new UsageError(`${text}: a length is a number of bytes, or one of K, M or G`);
}
