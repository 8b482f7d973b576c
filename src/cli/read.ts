import type { ArgumentParser, Namespace } from "argparse";
import { GuestscopeError, UsageError } from "../findings/errors.js";
import { dotted, type RowForm, rowsOf } from "../guest/hex-rows.js";
import type { GuestImage } from "../guest/image.js";
import {
  type MemorySpace,
  physicalSpace,
  readSpan,
  type SpanPart,
  vcpuSpace,
} from "../guest/memory-space.js";
import { parseLength, parseWhere, type Where } from "../guest/where.js";
import { AddressSpace } from "../linux/address-space.js";
import type { Kernel } from "../linux/kernel.js";
import { useModuleSymbols } from "../linux/modules.js";
import { type PageOwner, PageOwners } from "../linux/pages/page-owner.js";
import { printPlace } from "../linux/symbols.js";
import type { Task } from "../linux/tasks.js";
import { addressOfPlace, isUnknownKernel, spaceOf, taskOf } from "../linux/where.js";
import { type Command, EXIT } from "./command.js";
import type { MemoryDocument, MemoryPart } from "./guest-documents.js";
import { addKernelOptions, type KernelArguments, openKernelOf, withGuestMemory } from "./kernel-input.js";
import { ownerText } from "./present/context.js";
import { hex, print, printBytes, printError, printJson, printLines, printText } from "./terminal.js";

const FORMS = ["hex", "u32", "u64", "text", "raw", "code"] as const;

interface Arguments extends KernelArguments {
  readonly where: string;
  readonly length?: string;
  readonly as: (typeof FORMS)[number];
  readonly pid?: number;
  readonly owner?: boolean;
}

const DEFAULT_LENGTH = 256;
/** Bytes of the largest JSON document: its text is eight times as long. */
const MOST_JSON = 64 << 20;

/** What is read, and by which addresses. */
interface Target {
  readonly space: MemorySpace;
  readonly address: bigint;
  readonly kernel?: Kernel;
  /** The process whose memory it is. */
  readonly task?: Task;
}

async function resolve(guest: GuestImage, where: Where, args: Namespace): Promise<Target> {
  const { pid } = args as Arguments;
  if (pid !== undefined) {
    if (where.kind === "symbol")
      throw new UsageError("--pid goes with v:ADDRESS: symbols are the kernel's own");
    if (where.kind === "physical")
      throw new UsageError("--pid goes with v:ADDRESS: a physical address is of no process");
    const kernel = await openKernelOf(guest, args);
    const task = await taskOf(kernel, pid);
    return { kernel, task, space: await spaceOf(kernel, task), address: where.address };
  }
  if (where.kind === "physical") return { space: physicalSpace(guest.memory), address: where.address };
  try {
    const kernel = await openKernelOf(guest, args);
    if (where.kind === "symbol" && kernel.symbol(where.symbol) === undefined) await useModuleSymbols(kernel);
    return { kernel, space: kernel.space, address: addressOfPlace(kernel, where) };
  } catch (error) {
    const space = where.kind === "virtual" && isUnknownKernel(error) ? vcpuSpace(guest) : undefined;
    if (space === undefined) throw error;
    return { space, address: where.address };
  }
}

/** Whose the first byte is; undefined where that isn't known. */
async function ownerOf(guest: GuestImage, target: Target, args: Namespace): Promise<PageOwner | undefined> {
  const { space, address, task } = target;
  try {
    const kernel = target.kernel ?? (await openKernelOf(guest, args));
    const owners = new PageOwners(kernel);
    if (task !== undefined) return (await owners.processOwners(task, [address]))[0];
    const gpa = space instanceof AddressSpace ? await space.translate(address) : Number(address);
    return gpa === undefined || !Number.isSafeInteger(gpa) ? undefined : (await owners.ownersOf([gpa]))[0];
  } catch (error) {
    if (!(error instanceof GuestscopeError)) throw error;
    return undefined;
  }
}

/** Counts what is missing on the way. */
async function* counting(
  parts: AsyncIterable<SpanPart>,
  tell: (part: SpanPart) => void,
): AsyncGenerator<SpanPart> {
  for await (const part of parts) {
    if (part.bytes === undefined) tell(part);
    yield part;
  }
}

/** Writes the bytes as they are, up to the first that is missing. */
async function writeRaw(parts: AsyncIterable<SpanPart>): Promise<void> {
  for await (const { bytes } of parts) {
    if (bytes === undefined) return;
    await printBytes(bytes);
  }
}

async function writeText(parts: AsyncIterable<SpanPart>): Promise<void> {
  const decoder = new TextDecoder("utf-8");
  for await (const { bytes, length, why } of parts) {
    if (bytes === undefined) {
      print(`${decoder.decode()}\n[${length} bytes ${why ?? "absent"}]`);
      continue;
    }
    const text = decoder.decode(bytes, { stream: true });
    await printText(text);
  }
  print(decoder.decode());
}

async function documentOf(
  { input, as }: Arguments,
  { address }: Target,
  length: number,
  parts: AsyncIterable<SpanPart>,
): Promise<MemoryDocument> {
  if (length > MOST_JSON) throw new UsageError(`--json: ${length} bytes are too many for one document`);
  const list: MemoryPart[] = [];
  for await (const part of parts)
    list.push({
      address: hex(part.address),
      length: part.length,
      ...(part.bytes === undefined
        ? { missing: part.why ?? "absent" }
        : { bytes: part.bytes.slice(), ...(as === "text" ? { text: dotted(part.bytes) } : {}) }),
    });
  return { schemaVersion: 1, kind: "memory", source: input, address: hex(address), length, parts: list };
}

/** Shows a span in rows; code with a line for each symbol that begins in it. */
async function showRows(
  target: Target,
  form: RowForm,
  parts: AsyncIterable<SpanPart>,
  guest: GuestImage,
): Promise<void> {
  const place = form === "code" ? target.kernel?.place(target.address) : undefined;
  if (place !== undefined) print(`${printPlace(place)}:`);
  let lines: string[] = [];
  for await (const row of rowsOf(parts, form, guest.arch.order)) {
    lines.push(row);
    if (lines.length < 4096) continue;
    await printLines(lines);
    lines = [];
  }
  if (lines.length > 0) print(lines.join("\n"));
}

/** `guestscope read`. */
export const command: Command = {
  name: "read",
  summary: "print memory of a guest at an address or a kernel symbol",
  examples: [
    "guestscope read web01.save 0x1000",
    "guestscope read web01.save 0x1000-0x3000 --as u64",
    "guestscope read web01.save linux_banner --as text --length 120",
    "guestscope read web01.save init_task+0x40 --length 1K",
    "guestscope read web01.save v:0x7ffd12345000 --pid 412",
    "guestscope read web01.save 0 --length 1M --as raw | sha256sum",
  ],
  configure(parser: ArgumentParser): void {
    addKernelOptions(parser);
    parser.add_argument("where", {
      metavar: "WHERE",
      help: "a physical address, v:ADDRESS for a virtual one (of the kernel, or with --pid of a process), a range A-B of either with B exclusive, a kernel symbol, or SYMBOL+OFFSET",
    });
    parser.add_argument("--length", { metavar: "BYTES", help: "how much (K, M, G; default 256)" });
    parser.add_argument("--as", {
      choices: [...FORMS],
      default: "hex",
      help: "rows as xxd prints them (hex), numbers in the guest's byte order, text, the bytes as they are (raw), or code: its bytes with the symbol in front (nothing is disassembled)",
    });
    parser.add_argument("--pid", {
      type: "int",
      metavar: "N",
      help: "virtual addresses are of this process",
    });
    parser.add_argument("--owner", {
      action: "store_const",
      const: true,
      help: "say in a last line whose page the first byte is in (default on a terminal)",
    });
    parser.add_argument("--no-owner", {
      dest: "owner",
      action: "store_const",
      const: false,
      help: "never look for it",
    });
  },
  async run(args: Namespace): Promise<number> {
    const options = args as Arguments;
    const where = parseWhere(options.where);
    if (where.length !== undefined && options.length !== undefined)
      throw new UsageError(`${options.where} is a range: --length can't be given as well`);
    const length =
      where.length ?? (options.length === undefined ? DEFAULT_LENGTH : parseLength(options.length));
    if (options.as === "raw" && !options.json && process.stdout.isTTY)
      throw new UsageError("--as raw: bytes don't go to a terminal; redirect them");
    if (options.as === "raw" && options.owner === true)
      throw new UsageError("--as raw and --owner exclude each other: the output is the bytes alone");
    if (options.as === "raw" && options.json) throw new UsageError("--as raw and --json exclude each other");
    return withGuestMemory(args, async (guest) => {
      const target = await resolve(guest, where, args);
      const missing: { first: SpanPart | undefined; bytes: number } = { first: undefined, bytes: 0 };
      const parts = counting(readSpan(target.space, target.address, length), (part) => {
        missing.first ??= part;
        missing.bytes += part.length;
      });
      const { as, json, quiet } = options;
      const asked = options.owner ?? (process.stdout.isTTY && !quiet && !json && as !== "raw");
      const find = async (): Promise<PageOwner | undefined> =>
        asked ? ownerOf(guest, target, args) : undefined;
      if (json) {
        const document = await documentOf(options, target, length, parts);
        const owner = await find();
        printJson({ ...document, ...(owner === undefined ? {} : { owner }) } satisfies MemoryDocument);
      } else if (as === "raw") await writeRaw(parts);
      else if (as === "text") await writeText(parts);
      else await showRows(target, as, parts, guest);
      const owner = json ? undefined : await find();
      if (owner !== undefined) print(ownerText(owner));
      const { first, bytes } = missing;
      if (first === undefined) return EXIT.good;
      if (!quiet && !json) {
        const what = as === "raw" ? "the output ends there" : `${bytes} bytes are missing`;
        printError(`guestscope: ${hex(first.address)}: ${first.why ?? "absent"}; ${what}`);
      }
      return EXIT.badInput;
    });
  },
};
