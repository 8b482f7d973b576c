import type { PageCompression } from "../../../src/guest/output-format.js";
import { verifyAs } from "../../verify-as.js";
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Report } from "../../../src/findings/report.js";
import { AARCH64_BE, ARM } from "../../../src/guest/arch/arm.js";
import { I386, X86_64 } from "../../../src/guest/arch/x86.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { PageMap } from "../../../src/guest/page-map.js";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { bytesSource, sliceSource } from "../../../src/io/byte-source.js";
import { crc32 } from "../../../src/io/codecs/checksums.js";
import { AbsentError, UsageError } from "../../../src/findings/errors.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { openFile } from "../../../src/io/node/files.js";
import { startPageWorkers } from "../../../src/io/node/page-workers.js";
import { kdump } from "../../../src/vmcore/kdump/format.js";
import { type KdumpInspection } from "../../../src/vmcore/kdump/inspect.js";
import { createKdumpWriter } from "../../../src/vmcore/kdump/write.js";
import type { WriteOptions } from "../../../src/guest/output-format.js";
import { hasProgram, hasShared, projectRoot, scratch, skipUnless } from "../../shared.js";
import { differences, pagesOf, truthOf, unpackKdump } from "./data.js";
import { INFO_TEXT, MemoryFile, modelGuest, pageContents } from "../model.js";

installNodeCodecs();
const { folder, cleanup } = scratch();
afterAll(cleanup);
const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");
const COMPRESSIONS = ["none", "zlib", "lzo", "snappy", "zstd"] as const;

const open = async (bytes: Uint8Array): Promise<GuestImage> => {
  const guest = await kdump.reader.openGuest(bytesSource(bytes), {});
  if (guest === undefined) throw new Error("no openGuest");
  return guest;
};

async function write(guest: GuestImage, options: WriteOptions = {}): Promise<Uint8Array> {
  const file = new MemoryFile();
  const report = await createKdumpWriter().write(guest, file, options);
  const bytes = file.bytes();
  expect(report.size).toBe(bytes.length);
  return bytes;
}

async function findings(bytes: Uint8Array): Promise<string[]> {
  const report = new Report("written");
  await verifyAs(kdump, bytesSource(bytes), report);
  return report.findings.map(({ code, message }) => `${code} ${message}`);
}

const crcOf = (page: Uint8Array): string => crc32(page).toString(16);

/** What the model holds, frame by frame. */
function expected(frames: readonly number[], size = 4096): Map<number, string> {
  const zero = crcOf(new Uint8Array(size));
  return new Map(
    frames.map((frame) => [frame, frame >= 310 && frame < 331 ? zero : crcOf(pageContents(frame, size))]),
  );
}

describe("kdump writer", () => {
  for (const compress of COMPRESSIONS) {
    it(`${compress}: what it writes is read back`, async () => {
      const { guest, frames } = modelGuest({ vmcoreInfo: { text: INFO_TEXT } });
      const bytes = await write(guest, { compress });
      const again = await open(bytes);
      const { pages, reasons } = await pagesOf(again);
      const truth = expected(frames);
      for (let frame = 300; frame < 310; frame += 1) truth.set(frame, "-");
      expect(differences(pages, truth)).toEqual([]);
      expect([...reasons.values()]).toEqual([10]);
      expect(again.facts.vmcoreInfo?.text).toBe(INFO_TEXT);
      expect(again.vcpus[0]?.registers).toMatchObject({
        general: { rip: 0x1111_0000_0000_0010n },
        control: { cr3: 0x1000n },
      });
      expect(await findings(bytes)).toEqual([]);
      const { details: seen } = (await kdump.reader.inspect(bytesSource(bytes), {})) as KdumpInspection;
      expect(seen.compressions).toEqual(compress === "none" ? [] : [compress]);
      expect(seen.physBase).toEqual({ header: String(2n ** 64n - 186_646_528n), vmcoreInfo: "-186646528" });
      expect(seen.uname.release).toBe("6.1.0-model");
      // every page of noise stays as it is, and pages of zeros share one block
      expect(seen.pages.byCompression.none).toBeGreaterThan(100);
    });
  }

  it("writes every width, byte order and block size", async () => {
    for (const [arch, pageSize] of [
      [I386, 4096],
      [ARM, 4096],
      [AARCH64_BE, 65536],
      [X86_64, 65536],
    ] as const) {
      const text = INFO_TEXT.replace("PAGESIZE=4096", `PAGESIZE=${pageSize}`);
      const { guest, frames } = modelGuest({ arch, pageSize, vmcoreInfo: { text } });
      const again = await open(await write(guest, { compress: "lzo" }));
      const { pages } = await pagesOf(again);
      const known = new Map([...pages].filter(([, crc]) => crc !== "-"));
      expect(differences(known, expected(frames, pageSize))).toEqual([]);
      expect(again.arch).toEqual(arch);
      expect(again.facts.pageSize).toBe(pageSize);
      expect(again.facts.vmcoreInfo?.text).toBe(text);
    }
  });

  it("takes the kernel's page for a block, whatever its source has: readers walk its tables by it", async () => {
    const { guest } = modelGuest({ arch: AARCH64_BE, pageSize: 65536, vmcoreInfo: { text: INFO_TEXT } });
    const again = await open(await write(guest, {}));
    expect(again.facts.pageSize).toBe(4096);
    const [ours, theirs] = [new Uint8Array(4096), new Uint8Array(4096)];
    for (const { start, end, presence } of guest.memory.ranges())
      for (let gpa = start; gpa < end; gpa += 4096) {
        const n = await guest.memory.read(gpa, ours);
        expect(await again.memory.read(gpa, theirs)).toBe(presence === "absent" ? 0 : n);
        if (n > 0) expect(Buffer.compare(ours, theirs)).toBe(0);
      }
  });

  it("refuses memory so high that its bitmaps would take gigabytes, whatever there is below", async () => {
    const memory = new PageMap(bytesSource(new Uint8Array(4096).fill(1)), {});
    memory.set(2 ** 36, 1, 0);
    const guest = { ...modelGuest().guest, memory };
    await expect(createKdumpWriter().write(guest, new MemoryFile(), {})).rejects.toThrow(
      /memory up to 0x1000000001000: the bitmaps of a kdump would take 17 GiB/,
    );
    memory.remove(2 ** 36, 1);
    memory.set(2 ** 20, 1, 0);
    const { present } = await createKdumpWriter().write(guest, new MemoryFile(), {});
    expect(present).toBe(4096);
  });

  it("writes a part of memory, and nothing of a hole", async () => {
    const { guest } = modelGuest();
    const file = new MemoryFile();
    const report = await createKdumpWriter().write(guest, file, {
      range: { start: 290 * 4096, end: 312 * 4096 + 100 },
    });
    expect(report).toMatchObject({ present: 10 * 4096, zero: 2 * 4096, absent: 10 * 4096 + 100 });
    const { pages } = await pagesOf(await open(file.bytes()));
    expect([...pages.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: 22 }, (_, i) => 290 + i));
  });

  it("refuses pipes and unknown compressions", async () => {
    const { guest } = modelGuest();
    await expect(createKdumpWriter().write(guest, new MemorySink(), {})).rejects.toBeInstanceOf(UsageError);
    await expect(write(guest, { compress: "rar" as PageCompression })).rejects.toBeInstanceOf(UsageError);
  });
});

const program = new URL(`file://${path.join(projectRoot, "dist/io/node/page-worker.js")}`);
const notBuilt = skipUnless(fs.existsSync(program), "dist/ (npm run build)");

describe.skipIf(notBuilt)("kdump writer with threads", () => {
  const workers = createKdumpWriter(async (settings, threads) =>
    startPageWorkers(settings, threads, program),
  );

  /** A guest whose memory, `mib` MiB, lies in one piece in a file, from byte 512 on. */
  function guestInFile(mib: number, pageSize: number): { guest: GuestImage; file: string; size: number } {
    const pages = (mib * 2 ** 20) / pageSize;
    const contents = Array.from({ length: pages }, (_, frame) =>
      frame % 7 === 3 ? new Uint8Array(pageSize) : pageContents(frame, pageSize),
    );
    const file = path.join(folder, `straight-${mib}-${pageSize}`);
    fs.writeFileSync(file, Buffer.concat([new Uint8Array(512).fill(0xaa), ...contents]));
    const size = pages * pageSize;
    const memory = new PageMap(sliceSource(openFile(file), 512, size), { pageSize });
    memory.set(16, pages, 0);
    return { guest: { ...modelGuest({ pageSize }).guest, memory }, file, size };
  }

  it("writes the same bytes", async () => {
    const { guest } = modelGuest({ vmcoreInfo: { text: INFO_TEXT } });
    for (const compress of COMPRESSIONS) {
      const file = new MemoryFile();
      await workers.write(guest, file, { compress, threads: 2 });
      expect(Buffer.compare(file.bytes(), await write(guest, { compress })), compress).toBe(0);
    }
  });

  it("writes the same bytes where the threads read them themselves", async () => {
    for (const pageSize of [4096, 65536]) {
      const { guest } = guestInFile(6.5, pageSize);
      const piece = guest.memory.contiguous?.(17 * pageSize, 2 ** 21);
      expect(piece).toMatchObject({ offset: pageSize, length: 2 ** 21, source: { file: { offset: 512 } } });
      for (const compress of COMPRESSIONS) {
        const file = new MemoryFile();
        await workers.write(guest, file, { compress, threads: 2 });
        const label = `${compress}, pages of ${pageSize}`;
        expect(Buffer.compare(file.bytes(), await write(guest, { compress })), label).toBe(0);
        expect((await pagesOf(await open(file.bytes()))).pages.get(17), label).toBe(
          crcOf(pageContents(1, pageSize)),
        );
      }
    }
  });

  it("says where the file ends when it was cut meanwhile", async () => {
    const { guest, file, size } = guestInFile(6, 4096);
    fs.truncateSync(file, 512 + (size >> 1) + 100);
    const cut = (16 * 4096 + (size >> 1) + 100).toString(16);
    const writing = workers.write(guest, new MemoryFile(), { threads: 2 });
    await expect(writing).rejects.toBeInstanceOf(AbsentError);
    await expect(writing).rejects.toThrow(cut);
  });
});

describe.skipIf(noData)("kdump → model → kdump", () => {
  it("keeps every page of a filtered Linux dump and leaves out what was excluded", async () => {
    const name = "linux.zlib-d31.kdump";
    const guest = await kdump.reader.openGuest(openFile(unpackKdump(name, folder)), {});
    if (guest === undefined) throw new Error("no guest");
    const again = await open(await write(guest, { compress: "zstd" }));
    expect(differences((await pagesOf(again)).pages, truthOf(name))).toEqual([]);
    expect(again.vcpus).toEqual(guest.vcpus);
    expect(again.facts.vmcoreInfo).toEqual(guest.facts.vmcoreInfo);
  });
});

const python = "/usr/bin/python3";
const hasDrgn = spawnSync(python, ["-c", "import drgn"]).status === 0;
const hasKdumpfile = spawnSync(python, ["-c", "import kdumpfile"]).status === 0;

describe("outside readers of kdumps written here", () => {
  it.skipIf(skipUnless(hasKdumpfile, "python3-libkdumpfile"))(
    "libkdumpfile reads all pages alike",
    async () => {
      const { guest, frames } = modelGuest({ vmcoreInfo: { text: INFO_TEXT } });
      const truth = expected(frames);
      for (const compress of COMPRESSIONS) {
        const file = path.join(folder, `model.${compress}.kdump`);
        fs.writeFileSync(file, await write(guest, { compress }));
        const script = `
import sys, zlib, kdumpfile
ctx = kdumpfile.kdumpfile(sys.argv[1])
for pfn in map(int, sys.stdin.read().split()):
    try:
        print(pfn, "%x" % zlib.crc32(ctx.read(kdumpfile.KDUMP_MACHPHYSADDR, pfn << 12, 4096)))
    except kdumpfile.exceptions.KDumpBaseException as error:
        print(pfn, "-")
`;
        const input = [...frames, 300, 305, 331].join(" ");
        const out = execFileSync(python, ["-c", script, file], {
          input,
          encoding: "utf8",
          stdio: ["pipe", "pipe", "pipe"],
        });
        const read = new Map(
          out
            .trim()
            .split("\n")
            .map((line) => {
              const [pfn = "", crc = ""] = line.split(" ");
              return [Number(pfn), crc] as const;
            }),
        );
        expect([read.get(300), read.get(305), read.get(331)], compress).toEqual(["-", "-", "-"]);
        for (const absent of [300, 305, 331]) read.delete(absent);
        expect(differences(read, truth), compress).toEqual([]);
      }
    },
  );

  it.skipIf(noData || skipUnless(hasDrgn, "python3-drgn"))(
    "drgn knows the machine and reads pages alike",
    async () => {
      const guest = await kdump.reader.openGuest(openFile(unpackKdump("linux.zlib-d31.kdump", folder)), {});
      if (guest === undefined) throw new Error("no guest");
      const file = path.join(folder, "drgn.kdump");
      fs.writeFileSync(file, await write(guest, { compress: "zlib" }));
      const known = [...truthOf("linux.zlib-d31.kdump")].filter(([, crc]) => crc !== "-");
      const script = `
import sys, zlib, drgn
program = drgn.Program()
program.set_core_dump(sys.argv[1])
print(program.platform.arch.name, program.flags)
for pfn in map(int, sys.stdin.read().split()):
    print(pfn, "%x" % zlib.crc32(program.read(pfn << 12, 4096, True)))
`;
      const input = known.map(([pfn]) => pfn).join(" ");
      const [head, ...lines] = execFileSync(python, ["-c", script, file], {
        input,
        encoding: "utf8",
        stdio: ["pipe", "pipe", "pipe"],
      })
        .trim()
        .split("\n");
      expect(head).toBe("X86_64 ProgramFlags.IS_LINUX_KERNEL");
      const read = new Map(
        lines.map((line) => {
          const [pfn = "", crc = ""] = line.split(" ");
          return [Number(pfn), crc] as const;
        }),
      );
      expect(differences(read, new Map(known))).toEqual([]);
    },
  );

  it.skipIf(noData || skipUnless(hasProgram("crash"), "crash"))(
    "crash finds the release in all of them",
    async () => {
      const guest = await kdump.reader.openGuest(openFile(unpackKdump("linux.zlib-d31.kdump", folder)), {});
      if (guest === undefined) throw new Error("no guest");
      for (const compress of COMPRESSIONS) {
        const file = path.join(folder, `linux.${compress}.kdump`);
        fs.writeFileSync(file, await write(guest, { compress }));
        const { stdout } = spawnSync("crash", ["--osrelease", file], { encoding: "utf8" });
        expect(stdout.trim(), compress).toBe("6.1.192");
      }
    },
  );

  it.skipIf(noData || skipUnless(hasProgram("makedumpfile"), "makedumpfile"))(
    "makedumpfile takes the kernel's log out, as out of its own file",
    async () => {
      const original = unpackKdump("linux.zlib-d31.kdump", folder);
      const guest = await kdump.reader.openGuest(openFile(original), {});
      if (guest === undefined) throw new Error("no guest");
      const log = (file: string): string => {
        const out = `${file}.dmesg`;
        const { status, stdout, stderr } = spawnSync("makedumpfile", ["--dump-dmesg", file, out], {
          encoding: "utf8",
        });
        expect(status, `${stdout}${stderr}`).toBe(0);
        return fs.readFileSync(out, "utf8");
      };
      const wanted = log(original);
      expect(wanted).toContain("Linux version 6.1.192");
      for (const compress of ["none", "zlib"] as const) {
        const file = path.join(folder, `dmesg.${compress}.kdump`);
        fs.writeFileSync(file, await write(guest, { compress }));
        expect(log(file), compress).toBe(wanted);
      }
    },
  );
});
