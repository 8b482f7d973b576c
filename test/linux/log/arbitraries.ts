import * as fc from "fast-check";
import { readLog } from "../../../src/linux/log/read.js";
import type { LogRecord } from "../../../src/linux/log/record.js";
import type { LogSource } from "../../../src/linux/log/source.js";
import type { Message } from "./synthetic.js";

/** All records of a log, and what was said of it meanwhile. */
export async function all(source: LogSource): Promise<{ records: LogRecord[]; remarks: string[] }> {
  const records: LogRecord[] = [];
  const remarks: string[] = [];
  for await (const record of readLog(source, (rule, message) => {
    remarks.push(`${rule.code}: ${message}`);
  }))
    records.push(record);
  return { records, remarks };
}

const word = fc.stringMatching(/^[a-z0-9:.]{1,12}$/);
/** Any message. */
export const message: fc.Arbitrary<Message> = fc.record({
  text: fc.string({ unit: fc.constantFrom("a", "b", "c", " ", "é", "\n", "\t", "[", "]"), maxLength: 60 }),
  tsNsec: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  level: fc.nat(7),
  facility: fc.nat(23),
  flags: fc.nat(15),
  caller: fc.oneof(
    fc.nat(40000),
    fc.nat(64).map((cpu) => 0x8000_0000 + cpu),
  ),
  subsystem: fc.oneof(fc.constant(""), word),
  device: word,
});
/** Word size and byte order. */
export const machine = fc.record({
  bits: fc.constantFrom<32 | 64>(32, 64),
  order: fc.constantFrom<"little" | "big">("little", "big"),
});

/** Sizes of a ring buffer that a few dozen messages fill. */
export const ringOptions = fc.record({
  countBits: fc.integer({ min: 2, max: 6 }),
  sizeBits: fc.integer({ min: 9, max: 12 }),
});
