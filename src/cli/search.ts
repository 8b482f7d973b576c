import type { ArgumentParser, Namespace } from "argparse";
import { GuestscopeError, UsageError } from "../findings/errors.js";
import type { GuestImage } from "../guest/image.js";
import { hexPattern, type Pattern, regexPattern, textPatterns } from "../guest/pattern.js";
import { type Hit, searchMemory } from "../guest/search.js";
import type { Kernel } from "../linux/kernel.js";
import { type PageOwner, PageOwners } from "../linux/pages/page-owner.js";
import type { Task } from "../linux/tasks.js";
import { type Command, EXIT, runAnswering } from "./command.js";
import { errorData, statusOf } from "./failure.js";
import type { HitRow, SearchDocument } from "./guest-documents.js";
import { addKernelOptions, type KernelArguments, openKernelOf, withGuestMemory } from "./kernel-input.js";
import { HitBatch, type HitRun } from "./hit-batch.js";
import { searchedMemory } from "./memory-input.js";
import { contextText, ownerText } from "./present/context.js";
import { hex, ListDocument, print, printError, printJson, printLines } from "./terminal.js";

interface Arguments extends KernelArguments {
  readonly pattern: string;
  readonly hex: boolean;
  readonly regex: boolean;
  readonly ignore_case: boolean;
  readonly count: boolean;
  readonly owner: boolean;
  readonly max?: number;
  readonly pid?: number;
}

/** As grep's: found, not found; trouble is EXIT.failure. */
const FOUND = 0;
const NOT_FOUND = 1;

const CONTEXT = 24;
/** Hits whose owners are looked for together: each time all page tables are gone through. */
const TOGETHER = 1 << 14;
/** Hits that are written together. */
const ROWS = 1 << 8;
/** Bytes of memory between two looks at how many hits there are. */
const STEP = 64 << 10;

/** What follows the hits in the document. */
type ListedSearch = Pick<SearchDocument, "count" | "error">;

function patternsOf({ pattern, hex: isHex, regex, ignore_case: ignoreCase }: Arguments): Pattern[] {
  if (isHex && regex) throw new UsageError("--hex and --regex exclude each other");
  if (isHex && ignoreCase) throw new UsageError("-i goes with text, not with --hex");
  if (isHex) return [hexPattern(pattern)];
  return regex ? [regexPattern(pattern, ignoreCase)] : textPatterns(pattern, ignoreCase);
}

/** Says whose pages hits are in; of guests whose kernel can't be read nothing. */
class Owners {
  readonly #task: Task | undefined;
  readonly #openKernel: () => Promise<Kernel>;
  readonly #verbose: boolean;
  #owners: PageOwners | undefined;
  #areUnknown = false;

  constructor(task: Task | undefined, openKernel: () => Promise<Kernel>, verbose: boolean) {
    this.#task = task;
    this.#openKernel = openKernel;
    this.#verbose = verbose;
  }

  /** The owners of hits, ROWS at a time; fewer where it turns out that none can be known. */
  async *of(hits: HitRun): AsyncGenerator<Owned, undefined, undefined> {
    if (this.#areUnknown) return;
    let row: (PageOwner | undefined)[] = [];
    try {
      for await (const owner of this.#eachOf(hits)) {
        row.push(owner);
        if (row.length < ROWS) continue;
        yield row;
        row = [];
      }
    } catch (error) {
      if (!(error instanceof GuestscopeError)) throw error;
      this.#areUnknown = true;
      if (this.#verbose) printError(`guestscope: owners of pages are not known: ${error.message}`);
    }
    yield row;
  }

  async *#eachOf(hits: HitRun): AsyncGenerator<PageOwner | undefined, undefined, undefined> {
    this.#owners ??= new PageOwners(await this.#openKernel());
    const addresses = hits.addresses();
    if (this.#task === undefined) yield* this.#owners.eachOwnerOf(addresses.map(Number));
    else
      for (let at = 0; at < addresses.length; at += ROWS)
        yield* await this.#owners.processOwners(this.#task, addresses.slice(at, at + ROWS));
  }
}

type Owned = readonly (PageOwner | undefined)[];

const rowOf = (
  { address, length, kind, context, contextStart }: Hit,
  owner: PageOwner | undefined,
): HitRow => ({ address, length, kind, context, contextStart, ...(owner === undefined ? {} : { owner }) });

const lineOf = (hit: Hit, owner?: PageOwner): string =>
  `${hex(hit.address)}: ${contextText(hit)}${owner === undefined ? "" : `  ${ownerText(owner)}`}`;

async function search(guest: GuestImage, args: Namespace): Promise<number> {
  const options = args as Arguments;
  const { input, json, quiet, count, owner, pid, verbose, max = Infinity } = options;
  const patterns = patternsOf(options);
  let kernel: Promise<Kernel> | undefined;
  // to look for it may take a look at all of the memory: only when it is needed, and once
  const openKernel = (): Promise<Kernel> => (kernel ??= openKernelOf(guest, args));
  const { pieces, task } = await searchedMemory(guest, pid, openKernel);
  const addresses = task === undefined ? "physical" : "virtual";
  const list = new ListDocument({ schemaVersion: 1, kind: "search", source: input, addresses }, "hits");
  const owners = owner ? new Owners(task, openKernel, verbose) : undefined;
  let hits = 0;
  const isListed = !count && !quiet;
  // of text each is printed as it is found, unless its owner is to be named
  const isBatched = isListed && (json || owner);
  const batch = new HitBatch(owner ? TOGETHER : ROWS, async (some) => {
    const whose = owners?.of(some);
    for (let at = 0; at < some.length; at += ROWS) {
      const rows = some.slice(at, at + ROWS);
      const names: Owned = (await whose?.next())?.value ?? [];
      if (json) await list.add(rows.map((hit, i) => rowOf(hit, names[i])));
      else await printLines(rows.map((hit, i) => lineOf(hit, names[i])));
    }
  });
  try {
    await searchMemory(
      pieces,
      patterns,
      (hit) => {
        hits += 1;
        if (isBatched) batch.add(hit);
        else if (isListed) print(lineOf(hit));
        return hits < max && !(quiet && !count);
      },
      {
        context: count ? 0 : CONTEXT,
        ...(isBatched ? { step: STEP, reached: async (address) => batch.reached(address) } : {}),
      },
    );
    await batch.end();
  } catch (error) {
    if (isBatched && hits > 0 && statusOf(error) !== EXIT.readerGone)
      try {
        await batch.end();
      } finally {
        if (json)
          await list.end({ count: hits, error: errorData(error, EXIT.failure) } satisfies ListedSearch);
      }
    throw error;
  }
  if (json && isListed) await list.end({ count: hits } satisfies ListedSearch);
  else if (json)
    printJson({ schemaVersion: 1, kind: "search", source: input, count: hits } satisfies SearchDocument);
  else if (count && !quiet) print(String(hits));
  return hits > 0 ? FOUND : NOT_FOUND;
}

/** `guestscope search`. */
export const command: Command = {
  name: "search",
  summary: "find text or bytes in a guest's memory, and whose they are",
  examples: [
    "guestscope search web01.save 'BEGIN RSA PRIVATE KEY'",
    "guestscope search web01.save --hex '7f 45 4c 46 02 ?? 01'",
    "guestscope search web01.save --regex 'session=[0-9a-f]{32}' -i",
    "guestscope search web01.save --pid 412 password --json",
    "guestscope search web01.save --count oops",
  ],
  configure(parser: ArgumentParser): void {
    addKernelOptions(parser);
    parser.add_argument("pattern", {
      metavar: "PATTERN",
      help: "text (found as UTF-8 and as UTF-16LE), or what --hex or --regex make of it",
    });
    parser.add_argument("--hex", { action: "store_true", help: "PATTERN is bytes: 'de ad ?? ef'" });
    parser.add_argument("--regex", {
      action: "store_true",
      help: "PATTERN is a regular expression over bytes (JavaScript's)",
    });
    parser.add_argument("-i", "--ignore-case", {
      action: "store_true",
      help: "upper and lower case are alike",
    });
    parser.add_argument("--pid", {
      type: "int",
      metavar: "N",
      help: "search what this process has mapped, by virtual address (default: all physical memory)",
    });
    parser.add_argument("--count", { action: "store_true", help: "print how many there are, not where" });
    parser.add_argument("--max", { type: "int", metavar: "N", help: "end after this many" });
    parser.add_argument("--no-owner", {
      dest: "owner",
      action: "store_false",
      help: "don't look whose pages hits are in: prints each at once",
    });
  },
  async run(args: Namespace): Promise<number> {
    return runAnswering(async () => withGuestMemory(args, async (guest) => search(guest, args)));
  },
};
