import { roughU64, viewOf } from "../../binary/layout.js";
import type { HeadFact } from "../../guest/head.js";
import { type HeadPart, lostHeadParts } from "../../guest/head-parts.js";
import { indexOfBytes } from "../../io/byte-search.js";
import type { ByteSource } from "../../io/byte-source.js";
import type { Configuration } from "./configuration.js";
import type { StreamHead } from "./stream-head.js";
import { FLAG, mappedRamHeader } from "./layout.js";
import { mendMapped } from "./ram/mend-mapped.js";

/** What is lost of a head. */
export const STREAM_HEAD = "the stream's head";
/** The sum of all blocks, in front of their list. */
const SUM = 8;

/** What is known of a mapped-ram file before its list of blocks. */
export interface BeforeList {
  readonly start: number;
  readonly configuration: Configuration;
  /** Whether the configuration was read, and not only inferred. */
  readonly isConfigured: boolean;
  readonly pageSize: number;
  /** The first entry is here, or after this. */
  readonly from: number;
  /** The section `ram`; undefined: its head is lost. */
  readonly section: number | undefined;
  /** The sum of all blocks; undefined: it is lost. */
  readonly sum: number | undefined;
  /** Parts of the head up to the section. */
  partsBefore(section: number): HeadPart[];
  readonly facts: readonly HeadFact[];
}

/** What is known of a mapped-ram file whose head is damaged; undefined where its blocks don't lead to their end. */
export async function findMappedHead(input: ByteSource, before: BeforeList): Promise<StreamHead | undefined> {
  const { start, isConfigured, from, pageSize, section: known, sum } = before;
  const { capabilities } = before.configuration;
  const list = await mendMapped(input, {
    from,
    isAtFrom: known !== undefined,
    streamStart: start,
    pageSize,
    sum,
    ignoreShared: isConfigured ? capabilities.includes("x-ignore-shared") : undefined,
  });
  if (list === undefined) return undefined;
  const shown = ["mapped-ram", ...(list.ignoreShared ? ["x-ignore-shared"] : [])];
  const configuration = isConfigured
    ? before.configuration
    : { ...before.configuration, capabilities: shown };
  const facts = before.facts.map((one) =>
    one.fact === "capabilities"
      ? { ...one, value: shown.join(", "), from: "the headers of its blocks" }
      : one,
  );
  const section = known ?? Math.max(from, list.start - SUM);
  const isSum = sum === list.blocks.reduce((all, { length }) => all + length, 0);
  const parts = before.partsBefore(section);
  if (known !== undefined && isSum && list.parts.length === 0)
    return {
      configuration,
      at: known,
      ram: undefined,
      lost: lostHeadParts(parts, 2, STREAM_HEAD),
      facts,
    };
  const sumAt = Math.max(section, list.start - SUM);
  const all = [
    ...parts,
    { start: section, end: sumAt, isWhole: known !== undefined },
    { start: sumAt, end: list.start, isWhole: isSum },
    ...list.parts,
  ];
  return {
    configuration,
    at: list.end,
    ram: { section, id: list.id, blocks: list.blocks, block: undefined, address: 0 },
    lost: lostHeadParts(all, 2, STREAM_HEAD),
    facts: [...facts, ...list.facts],
  };
}

/** The sum of all blocks in front of their list; undefined where it isn't one. */
export function sumAt(bytes: Uint8Array, at: number): number | undefined {
  if (at + 8 > bytes.length) return undefined;
  const view = viewOf(bytes);
  const low = view.getUint32(at + 4);
  return (low & 0xfff) === FLAG.memSize ? roughU64(view, at, false) - FLAG.memSize : undefined;
}

/** Capabilities that the list of blocks shows: a header of mapped-ram is where it says. */
export function inferredCapabilities(bytes: Uint8Array, start: number, pageSize: number): string[] {
  const view = viewOf(bytes);
  const mark = new Uint8Array(12);
  viewOf(mark).setUint32(0, 1);
  viewOf(mark).setUint32(8, pageSize);
  for (let at = indexOfBytes(bytes, mark, 0); at >= 0; at = indexOfBytes(bytes, mark, at + 1)) {
    const after = at + mappedRamHeader.size;
    if (after > bytes.length) break;
    const bitmap = roughU64(view, at + 12, false);
    if (bitmap !== after && bitmap !== start + after) continue;
    return ["mapped-ram"];
  }
  return [];
}
