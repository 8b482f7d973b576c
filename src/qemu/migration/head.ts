import { viewOf } from "../../binary/layout.js";
import { StrictDiagnostics } from "../../findings/diagnostics.js";
import { FormatError } from "../../findings/errors.js";
import { type HeadFact, headFact } from "../../guest/head.js";
import { type HeadPart, lostHeadParts } from "../../guest/head-parts.js";
import { patchedSource } from "../../guest/salvage.js";
import { indexOfBytes } from "../../io/byte-search.js";
import { ByteReader } from "../../io/byte-reader.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { ramInCmos } from "./machine/cmos.js";
import { machineOf } from "./machine/machines.js";
import type { QevmStream } from "./stream.js";
import type { StreamHead } from "./stream-head.js";
import { machineNamed } from "../machines.js";
import { type Configuration, readConfiguration } from "./configuration.js";
import { Frame } from "./frame.js";
import { DEFAULT_PAGE_SIZE, FLAG, fileHeader, ORDER, QEVM_MAGIC, QEVM_VERSION, SECTION } from "./layout.js";
import { NAMELESS } from "./ram/blocks.js";
import { RamCensusTaker } from "./ram/census.js";
import { findDescription } from "./devices/description.js";
import { findMappedHead, inferredCapabilities, STREAM_HEAD, sumAt } from "./mapped-head.js";
import { isWholeList, type MendedBlock, mendList } from "./ram/mend-list.js";

/*
 * A stream's head is its header, the machine's configuration, and the list of RAM blocks with which the section `ram`
 * begins. Each is read as far as it is whole; what the list lacks is taken from the records of RAM.
 */

/** How far the section `ram`, and records of it, are looked for. */
const FARTHEST = 4 << 20;
/** Bytes of a list of blocks at most. */
const LONGEST_LIST = 1 << 20;
/** Instance and version of the section `ram`, after its name. */
const RAM_NAME = [3, 0x72, 0x61, 0x6d, 0, 0, 0, 0, 0, 0, 0, 4];
/** Bytes of the section's head: type, number, name, instance, version. */
const RAM_HEAD = 5 + RAM_NAME.length;
/** Where the list of blocks begins in the section: after the sum of their lengths. */
const LIST_AT = RAM_HEAD + 8;
const IGNORE_SHARED = "x-ignore-shared";
/** An end mark of RAM, and the footer's type. */
const LIST_END = [0, 0, 0, 0, 0, 0, 0, FLAG.eos, SECTION.footer];
const MOST_ID = 1 << 16;
const TWO_32 = 0x1_0000_0000;

/** Where the section `ram` begins in the first MiB, by its head; undefined where that isn't whole. */
function findRam(bytes: Uint8Array): number | undefined {
  const view = viewOf(bytes);
  const name = Uint8Array.from(RAM_NAME);
  for (let at = indexOfBytes(bytes, name, 5); at >= 5; at = indexOfBytes(bytes, name, at + 1))
    if (bytes[at - 5] === SECTION.start && view.getUint32(at - 4) < MOST_ID) return at - 5;
  return undefined;
}

/** Whether an input may be a stream whose head is damaged: its section `ram` is found, or records of RAM in a row. */
export async function isDamagedStream(input: ByteSource): Promise<boolean> {
  const bytes = new Uint8Array(Math.min(input.size, FARTHEST));
  await readFully(input, 0, bytes);
  if (findRam(bytes) !== undefined || inferredCapabilities(bytes, 0, DEFAULT_PAGE_SIZE).length > 0)
    return true;
  if ((await new RamCensusTaker(input, DEFAULT_PAGE_SIZE).find(0, FARTHEST)) !== undefined) return true;
  // the list of blocks of a mapped-ram file goes through all of it: worth a search where a description ends the file
  if ((await findDescription(input, 0)) === undefined) return false;
  return (await findStreamHead(input, 0, DEFAULT_PAGE_SIZE)) !== undefined;
}

/**
 * What is known of a stream whose head is damaged; undefined where neither the section `ram` nor its records are found.
 * @param pageSize as the description says
 */
export async function findStreamHead(
  input: ByteSource,
  start: number,
  pageSize: number,
): Promise<StreamHead | undefined> {
  const bytes = new Uint8Array(Math.min(input.size - start, FARTHEST));
  await readFully(input, start, bytes);
  const ram = findRam(bytes);
  const known = await configurationOf(input, start);
  const size = known?.configuration.pageSize ?? pageSize;
  const isHeader =
    bytes.length >= fileHeader.size &&
    viewOf(bytes).getUint32(0) === QEVM_MAGIC &&
    viewOf(bytes).getUint32(4) === QEVM_VERSION;
  const header = { start, end: start + fileHeader.size, isWhole: isHeader };
  const inferred = inferredCapabilities(bytes, start, size);
  const said = known?.configuration.capabilities ?? [];
  // a damaged name of a capability is another one's
  const isConfigured = known !== undefined && inferred.every((name) => said.includes(name));
  let configuration: Configuration = {
    ...known?.configuration,
    capabilities: isConfigured ? said : inferred,
  };
  const facts: HeadFact[] = [];
  if (known === undefined) facts.push(headFact("machine type", undefined));
  if (!isConfigured) {
    const [shown] = inferred;
    facts.push(
      shown === undefined
        ? headFact("capabilities", undefined)
        : { fact: "capabilities", value: shown, from: "the headers of its blocks" },
    );
  }
  const configured = known?.end ?? header.end;
  const parts = (begin: number): HeadPart[] => [
    header,
    { start: header.end, end: configured, isWhole: isConfigured && known.isWhole },
    { start: configured, end: Math.max(configured, begin), isWhole: false },
  ];
  const mapped = async (): Promise<StreamHead | undefined> =>
    findMappedHead(input, {
      start,
      configuration,
      isConfigured,
      pageSize: size,
      from: ram === undefined ? configured : start + ram + LIST_AT,
      section: ram === undefined ? undefined : start + ram,
      sum: ram === undefined ? undefined : sumAt(bytes, ram + RAM_HEAD),
      partsBefore: parts,
      facts,
    });
  if (configuration.capabilities.includes("mapped-ram")) return mapped();
  const taker = new RamCensusTaker(input, size);
  if (ram !== undefined) {
    const begin = start + ram;
    // without a configuration the list itself shows whether it has addresses
    const isAddressed = isConfigured
      ? said.includes(IGNORE_SHARED)
      : listOf(bytes, ram, false)?.isWhole !== true && listOf(bytes, ram, true)?.isWhole === true;
    if (isAddressed && !isConfigured) {
      configuration = { ...configuration, capabilities: [IGNORE_SHARED] };
      facts.splice(
        facts.findIndex(({ fact }) => fact === "capabilities"),
        1,
        {
          fact: "capabilities",
          value: IGNORE_SHARED,
          from: "the addresses in the list of blocks",
        },
      );
    }
    const list = listOf(bytes, ram, isAddressed);
    const census = list === undefined ? undefined : await taker.take(begin + RAM_HEAD, input.size);
    const mended =
      list === undefined || census === undefined
        ? undefined
        : mendList(list.entries, list.total, census.blocks, isAddressed);
    const isWhole = list?.isWhole === true && (mended === undefined || mended.facts.length === 0);
    if (isWhole)
      return {
        configuration,
        at: begin,
        ram: undefined,
        lost: lostHeadParts(parts(begin), 2, STREAM_HEAD),
        facts,
      };
    if (mended !== undefined && list !== undefined) {
      // after the end mark: the footer
      const end = start + list.end;
      const all = [...parts(begin), { start: begin + RAM_HEAD, end, isWhole: false }];
      return {
        configuration,
        at: end,
        ram: { section: begin, id: list.id, blocks: mended.blocks, block: undefined, address: 0 },
        lost: lostHeadParts(all, census?.proof ?? 2, STREAM_HEAD),
        facts: [...facts, ...mended.facts],
      };
    }
  }
  const from = ram === undefined ? configured : start + ram;
  const census = await taker.take(from, Math.min(input.size, start + 2 * FARTHEST));
  // of a mapped-ram file all of whose head is lost an entry of the list may be found far from there
  if (census === undefined) return known === undefined && ram === undefined ? mapped() : undefined;
  const blocks = census.blocks.map(({ name = NAMELESS, length }) => ({ name, length }));
  const [first] = census.blocks;
  return {
    configuration,
    at: census.at,
    ram: {
      section: census.at,
      id: census.ramId ?? 0,
      blocks,
      // its first record, which names it, is lost
      block: first !== undefined && first.name === undefined ? NAMELESS : undefined,
      address: census.address,
    },
    lost: lostHeadParts(parts(census.at), census.proof, STREAM_HEAD),
    facts: [...facts, listFact(blocks)],
  };
}

/**
 * The same head with a name for the block whose own is lost, where the stream's devices prove it: it is the machine's RAM if
 * it is as large as the clock's CMOS says that RAM is. Later rounds of a live migration name the block again.
 */
export function withRamNamed(head: StreamHead, stream: QevmStream): StreamHead {
  const { ram } = head;
  const cmos = ramInCmos(stream.devices);
  const name = machineOf(stream, undefined)?.ram;
  if (ram === undefined || cmos === undefined || name === undefined) return head;
  const again = ram.blocks.find((block) => block.name === name);
  const nameless = ram.blocks.find(
    (block) => block.name.startsWith(NAMELESS) && block.length === cmos.below + cmos.above,
  );
  if (nameless === undefined || (again?.length ?? 0) > nameless.length) return head;
  const blocks = ram.blocks
    .filter((block) => block !== again)
    .map((block) => (block === nameless ? { ...block, name } : block));
  const unknown = head.facts.findIndex(({ fact, value }) => fact === NAME && value === undefined);
  const facts = head.facts.filter(({ fact }, i) => fact !== LIST && i !== unknown);
  const named = { fact: NAME, value: name, from: "its size, which the CMOS has for RAM" };
  const list = head.facts.some(({ fact }) => fact === LIST) ? [listFact(blocks)] : [];
  return { ...head, ram: { ...ram, blocks, block: name }, facts: [...facts, named, ...list] };
}

const LIST = "list of RAM blocks";
const NAME = "name of a RAM block";

/** Blocks as the records show them, for people. */
const listFact = (blocks: readonly MendedBlock[]): HeadFact => ({
  fact: LIST,
  value: blocks.map(({ name, length }) => `${name} (${length} bytes)`).join(", "),
  from: "the records of their pages",
});

interface FoundList {
  readonly id: number;
  readonly total: number;
  /** Bytes of the entries. */
  readonly entries: Uint8Array;
  readonly isWhole: boolean;
  /** Where the records after the list begin, as an offset in `bytes`. */
  readonly end: number;
}

/** The list of the section `ram`, up to its end mark and footer; undefined where these aren't found. */
function listOf(bytes: Uint8Array, ram: number, ignoreShared: boolean): FoundList | undefined {
  const view = viewOf(bytes);
  const from = ram + RAM_HEAD;
  const id = view.getUint32(ram + 1);
  if (from + 8 > bytes.length) return undefined;
  const part = bytes.subarray(from, from + LONGEST_LIST);
  const mark = Uint8Array.from([...LIST_END, ...new Uint8Array(4)]);
  viewOf(mark).setUint32(LIST_END.length, id);
  const end = indexOfBytes(part, mark, 8);
  if (end < 0) return undefined;
  const low = view.getUint32(from + 4);
  const total = view.getUint32(from) * TWO_32 + (low - (low % 0x1000));
  const entries = part.subarray(8, end);
  return {
    id,
    total,
    entries,
    isWhole: (low & 0xfff) === FLAG.memSize && isWholeList(entries, total, ignoreShared),
    end: from + end,
  };
}

interface KnownConfiguration {
  readonly configuration: Configuration;
  readonly isWhole: boolean;
  /** Offset after it. */
  readonly end: number;
}

/** The configuration of a stream, its length from the name where that is damaged; undefined where it can't be read. */
async function configurationOf(input: ByteSource, start: number): Promise<KnownConfiguration | undefined> {
  const at = start + fileHeader.size + 1;
  const bytes = new Uint8Array(4 + LONGEST_NAME + 1);
  const n = await readFully(input, start + fileHeader.size, bytes.subarray(0, 1));
  if (n < 1) return undefined;
  const isMarked = bytes[0] === SECTION.configuration;
  const read = bytes.subarray(0, await readFully(input, at, bytes));
  const isGiven = await readAt(input, at);
  if (isGiven !== undefined) return { ...isGiven, isWhole: isMarked };
  let end = 4;
  while (end < read.length && (read[end] ?? 0) >= 0x20 && (read[end] ?? 0) < 0x7f) end += 1;
  if (end === 4 || !FOLLOWS.includes(read[end] ?? 0)) return undefined;
  const length = new Uint8Array(4);
  viewOf(length).setUint32(0, end - 4, ORDER !== "big");
  const mended = await readAt(patchedSource(input, [{ offset: at, bytes: length }]), at);
  // the end of a name is a name, too
  const isKnown = mended !== undefined && isMachine(mended.configuration);
  return isKnown ? { ...mended, isWhole: false } : undefined;
}

const LONGEST_NAME = 256;
/** What may follow the machine's name. */
const FOLLOWS: readonly number[] = [SECTION.start, SECTION.full, SECTION.subsection, SECTION.command];

async function readAt(
  input: ByteSource,
  start: number,
): Promise<Omit<KnownConfiguration, "isWhole"> | undefined> {
  const frame = new Frame(new ByteReader(input, { start }), new StrictDiagnostics(input.name));
  try {
    const configuration = await readConfiguration(frame, undefined);
    const ready = frame.reader.need(1);
    if (ready !== true) await ready;
    const isFollowed = FOLLOWS.includes(frame.reader.peek(1)[0] ?? 0);
    // what follows may be what is damaged
    return isFollowed || isMachine(configuration) ? { configuration, end: frame.position } : undefined;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return undefined;
  }
}

const isMachine = ({ machine }: Configuration): boolean =>
  machine !== undefined && machineNamed(machine) !== undefined;
