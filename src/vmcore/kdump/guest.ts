import { appendTo } from "../../binary/arrays.js";
import { AARCH64, ARM } from "../../guest/arch/arm.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import { architectureOfPrstatus, architectureOfUname } from "../../guest/arch/architectures.js";
import type { GuestImage } from "../../guest/image.js";
import { X86_64 } from "../../guest/arch/x86.js";
import { PPC64 } from "../../guest/arch/ppc64.js";
import { NT_PRSTATUS } from "../../elf/layout.js";
import type { OpenOptions } from "../../guest/options.js";
import { withVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import { PageMap } from "../../guest/page-map.js";
import type { ByteSource, MaybePromise } from "../../io/byte-source.js";
import type { CodecName } from "../../io/codecs/codec.js";
import { formatError } from "../../findings/diagnostics.js";
import { AbsentError, TruncatedError } from "../../findings/errors.js";
import { type AbsentReason, absentReasons } from "../../guest/absent.js";
import { KdumpFile } from "./read.js";
import { COMPRESSION_FLAGS, headerLayout } from "./layout.js";
import { codecOf, KdumpPages } from "./pages.js";
import { UnpackedMemory, UnpackThreads } from "./unpacked-memory.js";
import { KDUMP_RULES } from "./rules.js";
import { decodeVcpus, erasedWarning } from "../notes.js";
import { closeSource, splitSiblings } from "./split.js";

/** Pages of a dump by what became of them, and the bytes their contents take in the file. */
export interface KdumpCounts {
  dumped: number;
  excluded: number;
  lost: number;
  damaged: number;
  otherPart: number;
  /** Pages by the compression of their own: `none`, `zlib` … */
  readonly byCompression: Record<string, number>;
}

/** A kdump opened with all parts at hand: headers, counts and memory. */
export interface OpenKdump {
  /** The file that was named, then the other parts. */
  readonly files: readonly KdumpFile[];
  readonly memory: PageMap;
  /** The descriptors and contents that a token of the map is among. */
  readonly pagesOf: (token: number) => KdumpPages;
  /** Compressions of the pages. */
  readonly codecs: readonly CodecName[];
  readonly counts: KdumpCounts;
  readonly warnings: readonly string[];
}

export const COMPRESSION_BY_FLAG: ReadonlyMap<number, string> = new Map([
  [0, "none"],
  ...Object.entries(COMPRESSION_FLAGS).map(([name, flag]): [number, string] => [flag, name]),
]);

const ABSENT = absentReasons({
  lost: { kind: "truncated", text: "lost: the dump is incomplete" },
  size: { kind: "damaged", text: "damaged: its descriptor has an impossible size" },
  compression: { kind: "damaged", text: "damaged: its compression is unknown" },
  otherPart: { kind: "elsewhere", text: "not in this part of a split dump" },
});

/** Reads headers, bitmaps and descriptors of a dump and its other parts. Page contents stay where they are. */
export async function openKdump(input: ByteSource, options: OpenOptions): Promise<OpenKdump> {
  const warnings: string[] = [];
  const file = await KdumpFile.open(input, (error) => warnings.push(error.message));
  const files = [file];
  if (file.isSplit) appendTo(files, await splitSiblings(file, options, warnings));
  const sorted = [...files].sort((a, b) => a.firstFrame - b.firstFrame);
  const builder = new MemoryBuilder(file, sorted);
  for await (const { first, count, kind } of file.runs()) {
    if (kind === "excluded") builder.exclude(first, count);
    else {
      const done = builder.dumped(first, count);
      if (done instanceof Promise) await done;
    }
    options.progress?.(first, file.frames, "bitmaps");
  }
  await builder.finish();
  const { counts } = builder;
  for (const line of file.erased) warnings.push(erasedWarning(line));
  if (counts.lost > 0) warnings.push(`${counts.lost} pages that the dump should hold are lost`);
  if (counts.damaged > 0) warnings.push(`${counts.damaged} pages have damaged descriptors`);
  if (file.isIncomplete) warnings.push("its writer ran out of space and marked the dump as incomplete");
  if (file.flattened?.complete === false) warnings.push("the flattened form ends without its end marker");
  if (counts.otherPart > 0)
    warnings.push(`${counts.otherPart} pages are in parts of a split dump that are not here`);
  const pagesOf = (token: number): KdumpPages => builder.pagesOf(token);
  return { files, memory: builder.memory, pagesOf, codecs: builder.codecs, counts, warnings };
}

/** Turns runs of the bitmaps into a map of pages; a page's token is the number of its descriptor in the whole dump. */
class MemoryBuilder {
  readonly memory: PageMap;
  readonly counts: KdumpCounts = {
    dumped: 0,
    excluded: 0,
    lost: 0,
    damaged: 0,
    otherPart: 0,
    byCompression: {},
  };
  readonly #file: KdumpFile;
  readonly #files: readonly KdumpFile[];
  readonly #parts: KdumpPages[] = [];
  readonly #flags = new Set<number>();
  readonly #excluded: AbsentReason;
  #token = 0;

  constructor(file: KdumpFile, sorted: readonly KdumpFile[]) {
    this.#file = file;
    this.#files = sorted;
    this.#excluded = { kind: "excluded", text: `excluded by dump level ${file.subHeader.dump_level}` };
    this.memory = new PageMap(file.source, {
      pageSize: file.blockSize,
      decode: (token, into) => this.pagesOf(token).read(token, into),
    });
  }

  exclude(first: number, count: number): void {
    this.counts.excluded += count;
    this.memory.absent(first, count, this.#excluded);
  }

  /** A run of set bits in bitmap 2: cut to the parts that can have its descriptors. */
  dumped(first: number, count: number): MaybePromise<void> {
    const end = first + count;
    let waiting: Promise<void> | undefined;
    for (let frame = first; frame < end; ) {
      const part = this.#files.findIndex((file) => file.firstFrame <= frame && frame < file.endFrame);
      const file = this.#files[part];
      if (file === undefined) {
        const next = this.#files.find((other) => other.firstFrame > frame)?.firstFrame ?? end;
        const gap = Math.min(next, end) - frame;
        this.memory.absent(frame, gap, ABSENT.otherPart);
        this.counts.otherPart += gap;
        this.#token += gap;
        frame += gap;
        continue;
      }
      const here = Math.min(file.endFrame, end) - frame;
      const pages = (this.#parts[part] ??= new KdumpPages(file, this.#token));
      const [from, token] = [frame, this.#token];
      this.memory.decoded(from, here, token);
      this.#token += here;
      frame += here;
      if (waiting !== undefined) waiting = waiting.then(() => this.#check(pages, from, here, token));
      else {
        const checked = this.#check(pages, from, here, token);
        if (checked instanceof Promise) waiting = checked;
      }
    }
    return waiting;
  }

  /** Looks at the descriptors of a run: what can't be there is absent. */
  #check(pages: KdumpPages, first: number, count: number, token: number): MaybePromise<void> {
    const there = Math.min(count, Math.max(0, pages.endToken - token));
    if (there < count) {
      this.memory.absent(first + there, count - there, ABSENT.lost);
      this.counts.lost += count - there;
    }
    for (let i = 0; i < there; i += 1) {
      const found = pages.descriptor(token + i);
      if (found instanceof Promise) {
        const at = i;
        return found.then((descriptor) => {
          this.#classify(pages, first + at, descriptor);
          return this.#check(pages, first + at + 1, there - at - 1, token + at + 1);
        });
      }
      this.#classify(pages, first + i, found);
    }
  }

  #classify(
    pages: KdumpPages,
    frame: number,
    descriptor: { offset: number; size: number; flags: number },
  ): void {
    const fault = pages.fault(descriptor);
    if (fault !== undefined) {
      this.memory.absent(frame, 1, ABSENT[fault]);
      if (fault === "lost") this.counts.lost += 1;
      else this.counts.damaged += 1;
      return;
    }
    const name = COMPRESSION_BY_FLAG.get(descriptor.flags) ?? "none";
    this.counts.dumped += 1;
    this.counts.byCompression[name] = (this.counts.byCompression[name] ?? 0) + 1;
    pages.note(descriptor);
    this.#flags.add(descriptor.flags);
  }

  /** Makes pages ready to be read. */
  async finish(): Promise<void> {
    for (const part of this.#parts) {
      await part?.load(this.#flags);
      await part?.findShared();
    }
  }

  /** The part that has a page's descriptor. */
  pagesOf(token: number): KdumpPages {
    let part: KdumpPages | undefined;
    for (const pages of this.#parts) if (pages !== undefined && pages.firstToken <= token) part = pages;
    if (part !== undefined) return part;
    throw new AbsentError(KDUMP_RULES.lost, "no part of the dump has the page", { source: this.#file.name });
  }

  /** Compressions of the pages. */
  get codecs(): readonly CodecName[] {
    return Array.from(this.#flags).flatMap((flags) => codecOf(flags) ?? []);
  }
}

/** What writers put where a name is not known. */
const UNNAMED: ReadonlySet<string> = new Set(["", "(none)", "Unknown"]);

/** Machine by uname, by the form of the vCPUs' notes, or without any name by width and block size alone. @throws FormatError for an unknown name */
export function kdumpArchitecture({ name, header, form, notes, blockSize }: KdumpFile): Architecture {
  const { bits, order } = form;
  const named = architectureOfUname(header.machine, bits, order);
  if (named !== undefined) return named;
  const state = notes.find((note) => note.name === "CORE" && note.type === NT_PRSTATUS);
  const noted = architectureOfPrstatus(state?.descriptor.length, order);
  if (noted !== undefined) return noted;
  if (!UNNAMED.has(header.machine))
    throw formatError(
      KDUMP_RULES.machine,
      name,
      { offset: headerLayout(bits).offsetOf("machine") },
      `machine '${header.machine.replaceAll(/[^ -~]/g, "?")}' of ${bits} bits, ${order} endian`,
    );
  if (bits === 32) return ARM;
  if (order === "big") return PPC64;
  const isX86 = notes.some((note) => note.name === "QEMU");
  return !isX86 && blockSize === 65536 ? AARCH64 : X86_64;
}

/** phys_base of the header beside VMCOREINFO's, when they differ. */
export function physBaseDisagreement(file: KdumpFile): string | undefined {
  const told = file.vmcorePhysBase;
  if (told === undefined || BigInt.asUintN(64, told) === BigInt.asUintN(64, file.subHeader.phys_base))
    return undefined;
  return `phys_base is ${file.subHeader.phys_base} in the header, ${told} in VMCOREINFO, which is taken`;
}

/** The model of a kdump-compressed dump. */
export async function openKdumpGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  const threads = options.unpackers && new UnpackThreads(options.unpackers);
  try {
    return await kdumpGuest(await openKdump(input, options), input, options, threads);
  } catch (error) {
    await threads?.close();
    throw error;
  }
}

/** The model of a dump whose files are open. */
export async function kdumpGuest(
  opened: OpenKdump,
  input: ByteSource,
  options: Pick<OpenOptions, "partial">,
  threads?: UnpackThreads,
): Promise<GuestImage> {
  const { files, memory: map, pagesOf, codecs, warnings } = opened;
  const [file] = files;
  if (file === undefined)
    throw formatError(KDUMP_RULES.signature, input.name, { offset: 0 }, "not a kdump-compressed dump");
  if (file.flattened?.complete === false && options.partial !== true)
    throw new TruncatedError(KDUMP_RULES.unfinished, "the flattened dump ends without its end marker", 32, {
      source: input.name,
      offset: input.size,
    });
  const arch = kdumpArchitecture(file);
  const disagreement = physBaseDisagreement(file);
  const form = [
    ...(file.flattened === undefined ? [] : ["flattened"]),
    ...(file.isSplit ? [`${files.length} of a split set`] : []),
  ].join(", ");
  const { nodename, release, header_version } = file.header;
  const memory =
    threads === undefined || codecs.length === 0
      ? map
      : new UnpackedMemory(map, pagesOf, () => threads.pool(codecs));
  const guest: GuestImage = {
    arch,
    memory,
    vcpus: decodeVcpus(file.notes, arch),
    facts: {
      origin: `kdump-compressed dump, version ${header_version}${form === "" ? "" : ` (${form})`}`,
      source: input.name,
      pageSize: file.blockSize,
      ...(nodename === "" || nodename === "(none)" ? {} : { name: nodename }),
      ...(file.erased.length === 0 ? {} : { erased: file.erased }),
      ...(file.vmcoreInfo === undefined ? {} : { vmcoreInfo: { text: file.vmcoreInfo } }),
      specific: {
        kind: "kdump",
        dumpLevel: file.subHeader.dump_level,
        kernelRelease: release === "" ? undefined : release,
      },
    },
    warnings: disagreement === undefined ? warnings : [...warnings, disagreement],
    close: async () => {
      await threads?.close();
      for (const other of files.slice(1)) closeSource(other.input);
    },
  };
  // to look everywhere would be to unpack everything
  return withVmcoreInfo(guest, false);
}
