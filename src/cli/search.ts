import type { ArgumentParser, Namespace } from "argparse";
import { GuestscopeError, UsageError } from "../findings/errors.js";
import type { GuestImage } from "../guest/image.js";
import { hexPattern, type Pattern, regexPattern, textPatterns } from "../guest/pattern.js";
import { type Hit, searchMemory } from "../guest/search.js";
import type { Kernel } from "../linux/kernel.js";
import { type PageOwner, PageOwners } from "../linux/pages/page-owner.js";
import type { Task } from "../linux/tasks.js";
import { type Command, EXIT } from "./command.js";
import { failureText } from "./failure.js";
import type { HitRow, SearchDocument } from "./guest-documents.js";
import { addKernelOptions, type KernelArguments, openKernelOf, withGuestMemory } from "./kernel-input.js";
import { searchedMemory } from "./memory-input.js";
import { contextText, ownerText } from "./present/context.js";
import { hex, print, printError, printJson } from "./terminal.js";

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
/** Hits that are kept to name their owners once the search is through, and listed in one document. */
const MOST_HITS = 100_000;

function patternsOf({ pattern, hex: isHex, regex, ignore_case: ignoreCase }: Arguments): Pattern[] {
  if (isHex && regex) throw new UsageError("--hex and --regex exclude each other");
  if (isHex && ignoreCase) throw new UsageError("-i goes with text, not with --hex");
  if (isHex) return [hexPattern(pattern)];
  return regex ? [regexPattern(pattern, ignoreCase)] : textPatterns(pattern, ignoreCase);
}

/** The owners of hits; none for guests whose kernel can't be read. */
async function ownersOf(
  hits: readonly Hit[],
  task: Task | undefined,
  openKernel: () => Promise<Kernel>,
  { verbose }: Arguments,
): Promise<readonly (PageOwner | undefined)[]> {
  try {
    const owners = new PageOwners(await openKernel());
    if (task === undefined) return await owners.ownersOf(hits.map(({ address }) => Number(address)));
    return await owners.processOwners(
      task,
      hits.map(({ address }) => address),
    );
  } catch (error) {
    if (!(error instanceof GuestscopeError)) throw error;
    if (verbose) printError(`guestscope: owners of pages are not known: ${error.message}`);
    return [];
  }
}

async function search(guest: GuestImage, args: Namespace): Promise<number> {
  const options = args as Arguments;
  const { input, json, quiet, count, owner, pid, max = Infinity } = options;
  const patterns = patternsOf(options);
  let kernel: Promise<Kernel> | undefined;
  // to look for it may take a look at all of the memory: only when it is needed, and once
  const openKernel = (): Promise<Kernel> => (kernel ??= openKernelOf(guest, args));
  const { pieces, task } = await searchedMemory(guest, pid, openKernel);
  let hits = 0;
  const kept: Hit[] = [];
  // hits are printed as they come, unless their owners are to be named
  const isKept = !count && !quiet && (json || owner);
  await searchMemory(
    pieces,
    patterns,
    (hit) => {
      hits += 1;
      if (isKept) {
        if (kept.length < MOST_HITS) kept.push(hit);
      } else if (!count && !quiet) print(`${hex(hit.address)}: ${contextText(hit)}`);
      return hits < max && !(quiet && !count);
    },
    { context: count ? 0 : CONTEXT },
  );
  if (isKept) {
    kept.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
    const owners = kept.length > 0 && owner ? await ownersOf(kept, task, openKernel, options) : [];
    const named: HitRow[] = [];
    for (const [i, hit] of kept.entries()) {
      const found = owners[i];
      if (json) named.push({ ...hit, ...(found === undefined ? {} : { owner: found }) });
      else
        print(
          `${hex(hit.address)}: ${contextText(hit)}${found === undefined ? "" : `  ${ownerText(found)}`}`,
        );
    }
    if (hits > kept.length && !json)
      printError(`guestscope: and ${hits - kept.length} more; --count counts them, --no-owner lists them`);
    if (json)
      printJson({
        schemaVersion: 1,
        kind: "search",
        source: input,
        addresses: task === undefined ? "physical" : "virtual",
        count: hits,
        hits: named.map(({ address, length, kind, context, contextStart, owner: whose }) => ({
          address,
          length,
          kind,
          context,
          contextStart,
          ...(whose === undefined ? {} : { owner: whose }),
        })),
      } satisfies SearchDocument);
  } else if (json)
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
    try {
      return await withGuestMemory(args, async (guest) => search(guest, args));
    } catch (error) {
      // one is grep's word for nothing found: trouble is two, whatever kind it is
      if (!(error instanceof GuestscopeError)) throw error;
      printError(failureText(error));
      return EXIT.failure;
    }
  },
};
