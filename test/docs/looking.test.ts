import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  domainHeader,
  IMAGE_ID,
  IMAGE_MARKER,
  imageHeader,
  LIBXC_RECORD,
  recordHeader,
} from "../../src/xen/libxc/layout.js";
import { fixtures, gunzipText, projectRoot, scratch } from "../shared.js";

const place = scratch();
afterAll(place.cleanup);

/** The commands of a page's examples, one a line. */
const examples = (page: string): string[] =>
  Array.from(
    fs.readFileSync(path.join(projectRoot, "docs", page), "utf8").matchAll(/```sh\n([^]*?)```/g),
    ([, block = ""]) => block.trim().split("\n"),
  ).flat();

const record = (type: number, body: Uint8Array): Buffer =>
  Buffer.concat([
    recordHeader.encode({ type, bodyLength: body.length }, "little"),
    body,
    Buffer.alloc(-body.length & 7),
  ]);

/** A Xen stream of eight batches, the third with a length that can't be. */
function damagedStream(): Buffer {
  const batches = Array.from({ length: 8 }, (_, i) => {
    const head = Buffer.alloc(16);
    head.writeUInt32LE(1, 0);
    head.writeBigUInt64LE(BigInt(i), 8);
    return record(LIBXC_RECORD.PAGE_DATA, Buffer.concat([head, Buffer.alloc(4096, i + 1)]));
  });
  batches[2]?.writeUInt32LE(0x7fff_ffff, 4);
  return Buffer.concat([
    imageHeader.encode(
      { marker: IMAGE_MARKER, id: IMAGE_ID, version: 3, options: 0, reserved1: 0, reserved2: 0 },
      "little",
    ),
    domainHeader.encode({ type: 2, pageShift: 12, reserved1: 0, xenMajor: 4, xenMinor: 17 }, "little"),
    record(LIBXC_RECORD.STATIC_DATA_END, Buffer.alloc(0)),
    ...batches,
    record(LIBXC_RECORD.END, Buffer.alloc(0)),
  ]);
}

/** A legacy stream of an HVM guest of 20 pages: the entry of its page 7 is damaged. */
function damagedLegacyStream(): Buffer {
  const stream = zlib.gunzipSync(fs.readFileSync(path.join(fixtures, "xen-legacy/hvm64-xsmall.legacy.gz")));
  const entries = stream.indexOf(Buffer.from("06000000000000000700000000000000", "hex"));
  stream.fill(0xff, entries + 8, entries + 16);
  return stream;
}

beforeAll(() => {
  const guest = execFileSync("xz", ["-dkc", path.join(fixtures, "linux/panic-6.1.elf.xz")], {
    maxBuffer: 1 << 30,
  });
  fs.writeFileSync(path.join(place.folder, "web01.save"), guest);
  // a page of the kernel's text is another one later
  const later = Buffer.from(guest);
  const at = later.indexOf("Linux version");
  later.write("Linux VERSION", at);
  fs.writeFileSync(path.join(place.folder, "web01-later.save"), later);
  fs.writeFileSync(path.join(place.folder, "damaged.save"), damagedStream());
  fs.writeFileSync(path.join(place.folder, "damaged.save.gz"), zlib.gzipSync(damagedStream()));
  fs.writeFileSync(path.join(place.folder, "damaged.legacy"), damagedLegacyStream());
});

function run(line: string): { status: number | null; stdout: string; stderr: string } {
  const program = path.join(projectRoot, "dist/cli/main.js");
  return spawnSync("bash", ["-c", `guestscope() { "${process.execPath}" "${program}" "$@"; }; ${line}`], {
    cwd: place.folder,
    encoding: "utf8",
    timeout: 60_000,
  });
}

describe.each(["looking-inside.md", "rescue.md"])("the examples of %s", (page) => {
  it.each(examples(page))("%s", { timeout: 60_000 }, (line) => {
    const { status, stdout, stderr } = run(line);
    // files that differ, and one that is damaged
    expect(status, stderr).toBe(/ diff | verify /.test(line) ? 1 : 0);
    expect(stdout).not.toBe("");
  });
});

describe("what the pages promise", () => {
  it("a rescued stream has all pages but those of the lost part", () => {
    const { stderr, stdout } = run("guestscope read damaged.save 0x3000 --length 4 --as u32");
    expect(stderr).toMatch(
      /damaged: the bytes 0x[0-9a-f]+ to 0x[0-9a-f]+ \(4120\) are lost; 3 records in a row prove/,
    );
    expect(stdout).toBe("00003000: 04040404\n");
    const lost = run("guestscope read damaged.save 0x2000 --length 4");
    expect([lost.status, lost.stdout]).toEqual([
      1,
      "00002000: 4 bytes absent: no record names it, and part of the stream is damaged\n",
    ]);
  });

  it("the map of a damaged stream, and what extract says of it, are the same lost part", () => {
    const { status, stdout } = run("guestscope verify --map --json damaged.save");
    expect(status).toBe(1);
    const { inputs } = JSON.parse(stdout) as {
      inputs: {
        map: { size: number; parts: { offset: number; length: number; state: string; proof?: number }[] };
      }[];
    };
    const { size, parts } = inputs[0]?.map ?? { size: 0, parts: [] };
    expect(size).toBe(fs.statSync(path.join(place.folder, "damaged.save")).size);
    // bytes that were inserted into the record before would end there too
    expect(parts.map(({ state }) => state)).toEqual(["whole", "doubtful", "lost", "whole"]);
    const lost = parts.find(({ state }) => state === "lost");
    expect(lost).toMatchObject({ length: 4120, proof: 3 });
    const { rescue } = JSON.parse(
      run("guestscope extract --partial --force --json damaged.save map.elf").stdout,
    ) as { rescue: { lost: { start: number; end: number }[] } };
    expect(rescue.lost.map(({ start, end }) => [start, end - start])).toEqual([[lost?.offset, lost?.length]]);
  });

  it("diff finds the one page that differs, and nothing between a file and itself", () => {
    const { status, stdout } = run("guestscope diff --json web01.save web01-later.save");
    expect(status).toBe(1);
    expect((JSON.parse(stdout) as { memory: { changedPages: number } }).memory.changedPages).toBe(1);
    expect(run("guestscope diff web01.save web01.save").status).toBe(0);
    expect(run("guestscope diff web01.save nothing.save").status).toBe(2);
  });

  it("read --owner says in a last line whose byte it is, and --json as a member", { timeout: 60_000 }, () => {
    const places = JSON.parse(gunzipText(path.join(fixtures, "linux/panic-6.1.places.json.gz"))) as Record<
      string,
      string | number
    >[];
    const guest = path.join(fixtures, "linux/panic-6.1.places.elf.xz");
    const hex = (value: string | number | undefined): string => `0x${Number(value).toString(16)}`;
    const lines: Readonly<Record<string, (place: Record<string, string | number>) => string>> = {
      slab: ({ cache, index, offset }) => `slab ${cache}, object ${index}+${hex(offset)}`,
      stack: ({ pid, comm, offset }) => `kernel stack of pid ${pid} ${comm}+${hex(offset)}`,
      "page-table": () => "page table",
    };
    for (const [kind, line] of Object.entries(lines)) {
      const place = places.find((one) => one.kind === kind) ?? {};
      const { stdout } = run(`guestscope read ${guest} ${hex(place.gpa)} --length 4 --owner`);
      expect(stdout.trimEnd().split("\n").at(-1)).toBe(line(place));
    }
    const free = places.find(({ kind }) => kind === "free") ?? {};
    const { stdout } = run(`guestscope read ${guest} ${hex(free.gpa)} --length 4 --owner --json`);
    expect(JSON.parse(stdout)).toMatchObject({ owner: { kind: "free" } });
  });

  it("search ends as grep does, and raw gives the bytes up to what is missing", () => {
    expect(run("guestscope search web01.save 'not in there at all'").status).toBe(1);
    expect(run("guestscope search nothing.save x").status).toBe(2);
    const { status, stdout } = run("guestscope read damaged.save 0x1ffc --length 16 --as raw | xxd -p");
    expect([status, stdout.trim()]).toEqual([0, "02020202"]);
  });
});
