import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { FormatError } from "../../../src/findings/errors.js";
import type { Architecture } from "../../../src/guest/arch/architecture.js";
import { RISCV64 } from "../../../src/guest/arch/riscv64.js";
import { X86_64 } from "../../../src/guest/arch/x86.js";
import { extractGuest } from "../../../src/guest/extract.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { withVmcoreInfo } from "../../../src/guest/kernel/brought-vmcoreinfo.js";
import type { MemoryPiece, PhysicalMemory } from "../../../src/guest/memory.js";
import { GUEST_RULES } from "../../../src/guest/rules.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { openFile } from "../../../src/io/node/files.js";
import { openGuest } from "../../../src/open/open.js";
import { elfWriter } from "../../../src/vmcore/elf/write.js";
import { createKdumpWriter } from "../../../src/vmcore/kdump/write.js";
import { rawWriter } from "../../../src/vmcore/raw/write.js";
import { hasProgram, hasShared, runCli, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { MemoryFile } from "../../vmcore/model.js";

const PAGE = 4096;
const PIECE = 16 * PAGE;
/** Where memory begins in a dump whose head isn't longer. */
const HEAD = 64 << 10;
const TEXT = "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff81000000\n";
const OTHER = TEXT.replace("6.1.0", "5.10.1");

/** VMCOREINFO's note as the kernel keeps it in memory. */
function noteOf(text: string): Uint8Array {
  const note = Buffer.alloc(24 + text.length);
  note.writeUInt32LE(11, 0);
  note.writeUInt32LE(text.length, 4);
  note.write("VMCOREINFO", 12, "latin1");
  note.write(text, 24, "latin1");
  return note;
}

/** What a memory gave, in bytes, one number a way. */
interface Readings {
  read: number;
  pieces: number;
}

/** A guest with contents at guest-physical addresses, in memory from `start` on that comes in pieces of `piece` bytes. */
function guestWith(
  contents: readonly (readonly [gpa: number, bytes: Uint8Array | string])[],
  {
    arch = RISCV64,
    pages = 64,
    start = 0x1000,
    piece = PIECE,
    bad = -1,
  }: { arch?: Architecture; pages?: number; start?: number; piece?: number; bad?: number } = {},
): GuestImage & { readonly readings: Readings } {
  const bytes = Buffer.alloc(pages * PAGE, 0xa5);
  for (const [gpa, what] of contents) {
    const page = Buffer.alloc(PAGE);
    page.copy(bytes, gpa - start);
    Buffer.from(what as string).copy(bytes, gpa - start);
  }
  const end = start + bytes.length;
  const readings = { read: 0, pieces: 0 };
  const memory: PhysicalMemory = {
    ranges: () => [{ start, end, presence: "present" }],
    read(gpa, into) {
      if (gpa <= bad && bad < gpa + into.length)
        throw new FormatError(GUEST_RULES.incompleteRead, "a damaged page", { source: "test" });
      if (gpa < start || gpa >= end) return 0;
      readings.read += into.length;
      return bytes.copy(into, 0, gpa - start, gpa - start + into.length);
    },
    async *pieces(from = 0, to = end): AsyncIterable<MemoryPiece> {
      for (let gpa = Math.max(from, start); gpa < Math.min(to, end); ) {
        const length = Math.min(piece, end - gpa, to - gpa);
        readings.pieces += length;
        yield { gpa, length, bytes: Uint8Array.from(bytes.subarray(gpa - start, gpa - start + length)) };
        gpa += length;
      }
    },
  };
  return { arch, memory, vcpus: [], warnings: [], facts: { origin: "made up", source: "test" }, readings };
}

/** A file or pipe in memory that takes an output for good. */
function atomic<Sink extends MemoryFile | MemorySink>(
  sink: Sink,
): Sink & { commit(): void; abandon(): void } {
  return Object.assign(sink, { commit: () => undefined, abandon: () => undefined });
}

interface Extracted {
  readonly bytes: Uint8Array;
  readonly text: string | undefined;
}

async function extracted(guest: GuestImage, sink: MemoryFile | MemorySink): Promise<Extracted> {
  const opened = await withVmcoreInfo(guest, "later");
  const { guest: known } = await extractGuest(opened, elfWriter, () => atomic(sink));
  expect(known.isKernelUnsought).toBeUndefined();
  return { bytes: sink.bytes(), text: known.facts.vmcoreInfo?.text };
}

/** The dump of a guest whose memory was searched before, as a file and as a pipe, all alike; and what was found. */
async function alike(make: () => GuestImage): Promise<Extracted> {
  const before = new MemorySink();
  await elfWriter.write(await withVmcoreInfo(make()), before, {});
  const file = await extracted(make(), new MemoryFile());
  const pipe = await extracted(make(), new MemorySink());
  expect(Buffer.compare(file.bytes, before.bytes())).toBe(0);
  expect(Buffer.compare(pipe.bytes, before.bytes())).toBe(0);
  expect(file.text).toBe(pipe.text);
  const head = Buffer.from(file.bytes.subarray(0, HEAD));
  expect(head.includes("VMCOREINFO\0\0OSRELEASE")).toBe(file.text !== undefined);
  return file;
}

describe("VMCOREINFO that is looked for while memory is written", () => {
  it("memory is read once to a file; a pipe's head needs a read before", async () => {
    const guest = guestWith([[0x1000 + 63 * PAGE, TEXT]]);
    await extracted(guest, new MemoryFile());
    expect(guest.readings.pieces).toBe(64 * PAGE);
    expect(guest.readings.read).toBeLessThan(2 * (64 << 10));
    const piped = guestWith([[0x1000 + 63 * PAGE, TEXT]]);
    await extracted(piped, new MemorySink());
    expect(piped.readings.read).toBeGreaterThan(64 * PAGE);
  });

  it.each([0, 1, 15, 16, 17, 31, 32, 62, 63])(
    "is found in page %i, as a text and as a note",
    async (page) => {
      const gpa = 0x1000 + page * PAGE;
      expect((await alike(() => guestWith([[gpa, TEXT]]))).text).toBe(TEXT);
      expect((await alike(() => guestWith([[gpa, noteOf(TEXT)]]))).text).toBe(TEXT);
    },
  );

  it("is found where the head of its page, or its text, is in two pieces", async () => {
    const long = `${TEXT}${"NUMBER(n)=1\n".repeat(500)}`;
    for (const before of [1, 3, 4, 8, 16, 23, 24, 25]) {
      const piece = 8 * PAGE + before;
      for (const [what, text] of [
        [TEXT, TEXT],
        [noteOf(long), long],
      ] as const)
        expect((await alike(() => guestWith([[0x9000, what]], { piece }))).text).toBe(text);
    }
    // memory that doesn't begin with a page
    const start = 0x1008;
    expect((await alike(() => guestWith([[0x11000, TEXT]], { start }))).text).toBe(TEXT);
  });

  it("none is found where there is none, or what begins like it is something else", async () => {
    const broken = noteOf(TEXT);
    broken[4] = 0xff;
    broken[5] = 0xff;
    broken[6] = 0xff;
    for (const contents of [
      [],
      [[0x2000, "OSRELEASE=something else\n"]],
      [[0x2000, broken]],
      [[0x2010, TEXT]],
    ] as const)
      expect((await alike(() => guestWith(contents))).text).toBeUndefined();
  });

  it("of two the first counts, of an architecture whose tables aren't read, and of x86_64 where neither fits", async () => {
    for (const arch of [RISCV64, X86_64]) {
      const two = [
        [0x4000, OTHER],
        [0x30000, TEXT],
      ] as const;
      expect((await alike(() => guestWith(two, { arch }))).text).toBe(OTHER);
    }
    const many = Array.from({ length: 60 }, (_, i) => [(i + 2) * PAGE, i === 0 ? OTHER : TEXT] as const);
    expect((await alike(() => guestWith(many, { arch: X86_64 }))).text).toBe(OTHER);
  });

  it("a text too long for the room before memory: the file is written anew", async () => {
    const long = `${TEXT}${"NUMBER(n)=1\n".repeat(5450)}`;
    expect(long.length).toBeGreaterThan(HEAD - 100);
    const guest = (): GuestImage => guestWith([[0x8000, noteOf(long)]]);
    const { text, bytes } = await alike(guest);
    expect(text).toBe(long);
    expect(bytes.length).toBe(2 * HEAD + 64 * PAGE);
  });

  it("a damaged page that it leads to ends the search", async () => {
    const top = "SYMBOL(swapper_pg_dir)=ffffffff80005000\nSYMBOL(_stext)=ffffffff81000000\n";
    const text = `${TEXT}${top}NUMBER(phys_base)=0\n`;
    const make = (): GuestImage => guestWith([[0x20000, text]], { arch: X86_64, bad: 0x5000 });
    const file = await extracted(make(), new MemoryFile());
    expect(file.text).toBeUndefined();
  });

  it("a range, and an output that isn't ELF, are searched before; raw memory not at all", async () => {
    const spot = [[0x40000, TEXT]] as const;
    const opened = await withVmcoreInfo(guestWith(spot), "later");
    const options = { range: { start: 0x2000, end: 0x4000 } };
    const part = await extractGuest(opened, elfWriter, () => atomic(new MemoryFile()), options);
    expect(part.guest.facts.vmcoreInfo?.text).toBe(TEXT);
    const kdump = await extractGuest(opened, createKdumpWriter(), () => atomic(new MemoryFile()));
    expect(kdump.guest.facts.vmcoreInfo?.text).toBe(TEXT);
    const guest = guestWith(spot);
    await extractGuest(await withVmcoreInfo(guest, "later"), rawWriter, () => atomic(new MemoryFile()));
    expect(guest.readings).toEqual({ read: 0, pieces: 64 * PAGE });
  });

  it("file and pipe are the same whatever memory holds", async () => {
    const heads = fc.oneof(
      fc.constantFrom<Uint8Array | string>(TEXT, OTHER, noteOf(OTHER), "OSRE", noteOf("no text")),
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
    );
    const spots = fc.array(fc.tuple(fc.integer({ min: 1, max: 64 }), heads), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(spots, fc.integer({ min: 24, max: 9 * PAGE }), async (places, piece) => {
        const contents = places.map(([page, what]) => [page * PAGE, what] as const);
        await alike(() => guestWith(contents, { piece }));
      }),
      { numRuns: 60 },
    );
  });
});

const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");

describe.skipIf(noData)("a Linux guest without vCPUs and notes", () => {
  const { folder, cleanup } = scratch();
  afterAll(cleanup);
  const [bare, file, pipe] = ["bare.elf", "file.elf", "pipe.elf"].map((name) => path.join(folder, name)) as [
    string,
    string,
    string,
  ];

  it("extract finds its kernel on the way: file and pipe are the same, and makedumpfile takes the log out", async () => {
    const guest = await openGuest(openFile(unzstd(path.join(sharedData, "kdump/linux.elf.zst"), folder)));
    const { vmcoreInfo, kernelLayout, ...facts } = guest.facts;
    expect(kernelLayout).toBeDefined();
    const memory = new MemoryFile();
    await elfWriter.write({ ...guest, vcpus: [], facts }, memory, {});
    fs.writeFileSync(bare, memory.bytes());

    const run = runCli(["extract", "--json", bare, file]);
    expect(run.status, run.stderr).toBe(0);
    expect(JSON.parse(run.stdout)).toMatchObject({ vmcoreInfo: true, written: true });
    const piped = spawnSync("sh", [
      "-c",
      `${process.execPath} dist/cli/main.js extract -q ${bare} - > ${pipe}`,
    ]);
    expect(piped.status).toBe(0);
    expect(fs.readFileSync(file).equals(fs.readFileSync(pipe))).toBe(true);
    const again = await openGuest(openFile(file));
    expect(again.facts.vmcoreInfo?.text).toBe(vmcoreInfo?.text);
    expect(again.facts.kernelLayout).toEqual(kernelLayout);
    // what is asked for is no longer looked for
    const none = runCli(["extract", "--json", "--force", "--vmcoreinfo", "none", bare, pipe]);
    expect(JSON.parse(none.stdout)).toMatchObject({ vmcoreInfo: false, written: true });
    if (hasProgram("makedumpfile")) {
      const log = path.join(folder, "log.txt");
      expect(spawnSync("makedumpfile", ["--dump-dmesg", file, log]).status).toBe(0);
      expect(fs.readFileSync(log, "utf8")).toMatch(/Linux version 6\.1\.192/);
    }
  });

  it("a VMCOREINFO that it brings and that doesn't fit is replaced on the way, with the same words", async () => {
    const guest = await openGuest(openFile(unzstd(path.join(sharedData, "kdump/linux.elf.zst"), folder)));
    const { vmcoreInfo, kernelLayout, ...facts } = guest.facts;
    const right = vmcoreInfo?.text ?? "";
    const moved = right.replace(/phys_base\)=(.*)/, (_, base: string) => `phys_base)=${Number(base) + 4096}`);
    // of one that leads to no memory nothing is said, unless a copy that fits is there
    const lost = right.replace(/phys_base\)=(.*)/, `phys_base)=${2 ** 45}`);
    for (const text of [moved, lost]) {
      const brings = (): GuestImage => ({ ...guest, vcpus: [], facts: { ...facts, vmcoreInfo: { text } } });
      const before = await withVmcoreInfo(brings(), true);
      const later = await withVmcoreInfo(brings(), "later");
      expect(later.isKernelUnsought).toBe(true);
      const told: string[] = [];
      const extraction = await extractGuest(later, elfWriter, () => atomic(new MemoryFile()), {
        onWarnings: (warnings) => told.push(...warnings),
      });
      expect(extraction.guest.facts.vmcoreInfo).toEqual(before.facts.vmcoreInfo);
      expect(extraction.guest.facts.vmcoreInfo?.text).toBe(right);
      expect(extraction.guest.facts.kernelLayout).toEqual(kernelLayout);
      expect(extraction.guest.warnings).toEqual(before.warnings);
      expect(told).toEqual(before.warnings);
      expect(told.join("\n")).toMatch(
        /doesn't fit the kernel in memory: the copy in memory at 0x.* is taken/,
      );
    }
  });
});
