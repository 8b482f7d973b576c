import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { beforeAll, describe, expect, it } from "vitest";
import * as seeds from "../../fuzz/seeds.js";
import { type GuestImage } from "../../src/guest/image.js";
import { memoryTotals } from "../../src/guest/memory.js";
import { type ByteSource, bytesSource } from "../../src/io/byte-source.js";
import { openRandomAccess, type RandomAccess } from "../../src/io/node/decompress.js";
import { installNodeCodecs } from "../../src/io/node/codecs.js";
import { inspect, openGuest, verify } from "../../src/open/open.js";
import { hasProgram, hasShared, isEverything, runCli, scratch, sharedData, skipUnless } from "../shared.js";

/** Each compression by a program of its own. */
const PROGRAMS = ["gzip", "xz", "zstd", "lz4", "bzip2", "lzop"] as const;
type Program = (typeof PROGRAMS)[number];

const pack = (program: Program, input: Uint8Array): Uint8Array =>
  execFileSync(program, program === "lz4" || program === "zstd" ? ["-c", "-q", "-"] : ["-c"], {
    input,
    maxBuffer: 1 << 26,
  });

/** An input of every format, and of every envelope. */
async function inputs(): Promise<ReadonlyMap<string, Uint8Array>> {
  const sets = {
    xen: seeds.xenStreams(),
    legacy: seeds.legacyStreams(),
    envelope: seeds.envelopes(),
    qemu: seeds.qemuStreams(),
    libvirt: seeds.libvirtSaves(),
    qcow2: seeds.qcow2Images(),
    elf: await seeds.elfVmcores(),
    kdump: await seeds.kdumps(),
    lime: await seeds.limes(),
    "xen-core": await seeds.xenCores(),
    avml: await seeds.avmls(),
  };
  const all = Object.entries(sets).flatMap(([set, members]) =>
    Object.entries(members).map(([name, bytes]) => [`${set} ${name}`, bytes] as const),
  );
  return new Map(all.filter(([name]) => name !== "qemu no-footers"));
}

async function torn(bytes: Uint8Array): Promise<RandomAccess> {
  return openRandomAccess(bytesSource(bytes, "torn"), { keepTorn: true });
}

async function contentsOf(source: ByteSource): Promise<Uint8Array> {
  const bytes = new Uint8Array(source.size);
  await source.read(0, bytes);
  return bytes;
}

/** All that there is of a guest, to be compared; or the code of the error that opening it ends with. */
async function pictureOf(source: ByteSource): Promise<unknown> {
  let guest: GuestImage;
  try {
    guest = await openGuest(source, { partial: true });
  } catch (error) {
    return (error as { readonly code: string }).code;
  }
  const pages: [number, string][] = [];
  for await (const { gpa, length, bytes } of guest.memory.pieces())
    pages.push([gpa, bytes === undefined ? `${length} zeros` : Buffer.from(bytes).toString("base64")]);
  const { facts, vcpus } = guest;
  const picture = { pages, totals: memoryTotals(guest.memory), name: facts.name, vcpus: vcpus.length };
  await guest.close?.();
  return picture;
}

const codeOf = (run: Promise<unknown>): Promise<unknown> =>
  run.then(
    () => undefined,
    (error: unknown) => (error as { readonly code: string }).code,
  );

/** In CI all of them. */
const TRIED = PROGRAMS.filter((program) => isEverything || program === "zstd");

describe.each(TRIED)("what %s packed and broke off", (program) => {
  const absent = skipUnless(hasProgram(program), program);
  beforeAll(installNodeCodecs);

  it.skipIf(absent)("is verified, and opened with partial, as far as it came: of every format", async () => {
    const code = `codec/${program}`;
    for (const [name, bytes] of await inputs()) {
      const packed = pack(program, bytes);
      const end = Math.floor(packed.length * 0.6);
      const access = await torn(packed.subarray(0, end));
      const { source } = access;
      expect(source.packed?.tear, name).toMatchObject({ isCut: true, packedOffset: end });
      const came = await contentsOf(source);
      expect(Buffer.compare(came, bytes.subarray(0, came.length)), name).toBe(0);

      const { report, packed: of } = await verify(source);
      expect(report.valid, name).toBe(false);
      expect(report.findings[0], name).toMatchObject({ code, severity: "error", offset: came.length });
      expect(of, name).toMatchObject({ compression: program, size: came.length });

      expect(await codeOf(openGuest(source)), name).toBe(code);
      const plain = await pictureOf(bytesSource(came, "torn"));
      const expected = typeof plain === "string" && plain.startsWith("open/") ? code : plain;
      expect(await pictureOf(source), name).toEqual(expected);

      const inspected = await inspect(source).catch(() => undefined);
      if (inspected !== undefined) expect(inspected.damage[0], name).toMatchObject({ code });
      access.close();
    }
  });

  it.skipIf(absent)("is an error where nobody asks for what came", async () => {
    const packed = pack(program, seeds.xenStreams()["pv-3-xl"] ?? new Uint8Array(0));
    const cut = bytesSource(packed.subarray(0, packed.length - 30), "torn");
    expect(await codeOf(openRandomAccess(cut))).toBe(`codec/${program}`);
  });

  it.skipIf(absent)("is said by the command line, and extracted with --partial", () => {
    const { folder, cleanup } = scratch();
    const input = path.join(folder, "old.save.packed");
    const packed = pack(program, seeds.fixture("xen-legacy", "hvm64-live.legacy.gz"));
    const end = Math.floor(packed.length * 0.9);
    fs.writeFileSync(input, packed.subarray(0, end));
    const verified = runCli(["verify", "--json", input]);
    expect(verified.status).toBe(1);
    const [of] = (JSON.parse(verified.stdout) as { inputs: Record<string, unknown>[] }).inputs;
    expect(of).toMatchObject({
      format: "xen-legacy",
      valid: false,
      packed: { compression: program, state: "cut", offset: end },
      verdict: expect.stringMatching(/^invalid: /),
    });
    const output = path.join(folder, "o.elf");
    const refused = runCli(["extract", input, output]);
    expect(refused).toMatchObject({ status: 1, stdout: "" });
    expect(refused.stderr).toContain("--partial takes what came of it");
    expect(fs.existsSync(output)).toBe(false);
    const partial = runCli(["extract", "--partial", input, output]);
    expect(partial.stderr).toContain(`the packed input, which has ${end} bytes, unpacks to`);
    expect(partial.status).toBe(0);
    expect(fs.existsSync(output)).toBe(true);
    const converted = runCli(["convert", input, path.join(folder, "o.v3")]);
    expect(converted.stderr).toContain(`[codec/${program}]`);
    cleanup();
  });
});

describe("packed data that are damaged, not cut", () => {
  beforeAll(installNodeCodecs);

  it("give what came before, with doubt", async () => {
    const bytes = seeds.xenStreams()["pv-3-xl"] ?? new Uint8Array(0);
    const packed = Uint8Array.from(zlib.gzipSync(bytes));
    // the checksum, after all contents
    packed[packed.length - 8] = (packed[packed.length - 8] ?? 0) ^ 1;
    const access = await torn(packed);
    const { source } = access;
    expect(source.size).toBe(bytes.length);
    const { report } = await verify(source);
    expect(report.findings.map(({ code }) => code)).toEqual(["codec/gzip"]);
    expect(report.findings[0]?.message).toMatch(/damaged near byte \d+.*the last of them may be wrong/);
    const guest = await openGuest(source, { partial: true });
    expect(guest.warnings[0]).toContain("[codec/gzip]");
    expect(memoryTotals(guest.memory).absent).toBe(0);
    access.close();
  });
});

describe("a packed stream of several parts, damaged in its middle, from a pipe", () => {
  it("is verified and mapped as from a file", () => {
    const { folder, cleanup } = scratch();
    const plain = Buffer.from(seeds.fixture("xen-legacy", "hvm64-live.legacy.gz"));
    const third = Math.ceil(plain.length / 3);
    const members = [0, 1, 2].map((i) => zlib.gzipSync(plain.subarray(i * third, (i + 1) * third)));
    const packed = Buffer.concat(members);
    const middle = (members[0]?.length ?? 0) + ((members[1]?.length ?? 0) >> 1);
    packed.fill(0x55, middle, middle + 200);
    const file = path.join(folder, "old.save.gz");
    fs.writeFileSync(file, packed);

    const { status, stdout } = runCli(["verify", "--map", "--json", file, "-"], { input: packed });
    expect(status).toBe(1);
    const [ofFile, ofPipe] = (JSON.parse(stdout) as { inputs: Record<string, unknown>[] }).inputs;
    expect(ofFile).toMatchObject({ packed: { state: "damaged", lost: [{ length: null }] } });
    expect(JSON.stringify(ofPipe).replaceAll("stdin", file)).toBe(JSON.stringify(ofFile));
    cleanup();
  });

  it("is mapped where it isn't packed", () => {
    const plain = Buffer.from(seeds.fixture("xen-legacy", "hvm64-live.legacy.gz"));
    plain.fill(0x55, 5_600_000, 6_400_000);
    const { stdout } = runCli(["verify", "--map", "--json", "-"], { input: plain });
    const [first] = (
      JSON.parse(stdout) as { inputs: { map: { size: number; parts: { state: string }[] } }[] }
    ).inputs;
    expect(first?.map.size).toBe(plain.length);
    expect(first?.map.parts.map(({ state }) => state)).toContain("lost");
  });
});

describe("a stream packed inside libvirt's save", () => {
  it("is said to end at an offset of the file, and after how many bytes", async () => {
    const save = seeds.libvirtSaves()["gzip"] ?? new Uint8Array(0);
    const end = Math.floor(save.length * 0.6);
    const cut = bytesSource(save.subarray(0, end), "cut.save");
    const { report } = await verify(cut);
    const [finding] = report.findings.filter(({ code }) => code === "libvirt-save/compressed-data");
    expect(finding).toMatchObject({ severity: "error", offset: end });
    const unpacked = Number(/unpacks to (\d+) bytes/.exec(finding?.message ?? "")?.[1]);
    expect(unpacked).toBeGreaterThan(4096);
    expect(await codeOf(openGuest(cut))).toBe("libvirt-save/compressed-data");
    const guest = await openGuest(cut, { partial: true });
    expect(memoryTotals(guest.memory).present).toBeGreaterThan(0);
    await guest.close?.();
  });
});

it.skipIf(skipUnless(hasShared, "shared/data"))("torn.qevm.gz from the field", async () => {
  const access = await torn(fs.readFileSync(path.join(sharedData, "field/torn.qevm.gz")));
  const { source } = access;
  const { report, format } = await verify(source);
  expect(format).toBe("qemu-migration");
  expect(report.findings.slice(0, 2).map(({ code, offset }) => [code, offset])).toEqual([
    ["codec/gzip", source.size],
    ["qevm/truncated", source.size],
  ]);
  access.close();
});
