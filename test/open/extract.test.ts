import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ExtractDocument } from "../../src/cli/extract.js";
import { viewOf } from "../../src/binary/layout.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { openGuest } from "../../src/open/open.js";
import { KdumpFile } from "../../src/vmcore/kdump/read.js";
import { pageDescriptor } from "../../src/vmcore/kdump/layout.js";
import { fixtures, projectRoot, type Run, runCli, scratch, skipUnless } from "../shared.js";

const built = fs.existsSync(path.join(projectRoot, "dist/cli/main.js"));
const { folder, cleanup } = scratch();
afterAll(cleanup);

const unpack = (name: string): Uint8Array =>
  new Uint8Array(zlib.gunzipSync(fs.readFileSync(path.join(fixtures, name))));
const cut = (bytes: Uint8Array, part: number): Uint8Array => bytes.subarray(0, bytes.length * part);

/** Runs `extract` on bytes; the output's path is new each time. */
let runs = 0;
function extract(input: Uint8Array, ...options: readonly string[]): Run & { readonly out: string } {
  runs += 1;
  const file = path.join(folder, `${runs}.in`);
  const out = path.join(folder, `${runs}.out`);
  fs.writeFileSync(file, input);
  return { ...runCli(["extract", file, out, ...options]), out };
}

/** A kdump of ours, a page of which does not unpack. */
async function damagedPage(whole: Uint8Array): Promise<{ bytes: Uint8Array; page: number }> {
  const file = await KdumpFile.open(bytesSource(whole));
  const bytes = whole.slice();
  let at = file.descriptorOffset;
  for await (const { first, count } of file.runs()) {
    for (let frame = first; frame < first + count; frame += 1, at += pageDescriptor.size) {
      const { offset, flags } = pageDescriptor.read(viewOf(bytes), at, file.form.order);
      // from the middle of the dump
      if (flags !== 1 || frame < first + count / 2) continue;
      bytes.fill(0xaa, offset + 2, offset + 10);
      return { bytes, page: frame * file.blockSize };
    }
  }
  throw new Error("no compressed page");
}

describe.skipIf(skipUnless(built, "dist/ (npm run build)"))("extract on damaged inputs", () => {
  const inputs: Record<string, Uint8Array> = {};
  beforeAll(() => {
    inputs["an ELF vmcore"] = unpack("vmcore/machines/s390x.elf.gz");
    inputs["a flattened kdump"] = unpack("vmcore/machines/arm.flat.gz");
    const kdump = extract(inputs["an ELF vmcore"], "--to", "kdump");
    expect(kdump.status, kdump.stderr).toBe(0);
    inputs["a kdump"] = new Uint8Array(fs.readFileSync(kdump.out));
    const legacy = path.join(folder, "legacy");
    inputs["a legacy stream"] = unpack("xen-legacy/pv32-t64.legacy.gz");
    fs.writeFileSync(legacy, inputs["a legacy stream"]);
    const converted = path.join(folder, "converted");
    const { status, stderr } = runCli(["convert", legacy, converted]);
    expect(status, stderr).toBe(0);
    inputs["a version 3 stream"] = new Uint8Array(fs.readFileSync(converted));
  });

  it.each(["an ELF vmcore", "a flattened kdump", "a kdump", "a legacy stream", "a version 3 stream"])(
    "%s cut short: nothing written, or with --partial what is whole",
    async (name) => {
      const whole = inputs[name] ?? new Uint8Array(0);
      // QEMU sends the descriptors late: without them no page is found
      const bytes = cut(whole, name === "a flattened kdump" ? 0.95 : 0.7);
      const refused = extract(bytes);
      expect(refused.status).toBe(1);
      expect(refused.stderr).toMatch(/ends|lost/);
      expect(refused.stderr).not.toMatch(/internal error|\n {4}at /);
      expect(fs.existsSync(refused.out)).toBe(false);

      const taken = extract(bytes, "--partial", "--json");
      expect(taken.status, taken.stderr).toBe(0);
      const { absent, missing, warnings } = JSON.parse(taken.stdout) as ExtractDocument;
      expect(absent).toBeGreaterThan(0);
      expect(missing.length + warnings.length).toBeGreaterThan(1);
      // no byte that the whole input does not have there as well
      const complete = await openGuest(bytesSource(whole));
      const part = await openGuest(bytesSource(new Uint8Array(fs.readFileSync(taken.out))));
      let same = 0;
      for await (const { gpa, length, bytes: contents } of part.memory.pieces()) {
        const wanted = new Uint8Array(length);
        expect(await complete.memory.read(gpa, wanted)).toBe(length);
        expect(Buffer.compare(wanted, contents ?? new Uint8Array(length)), gpa.toString(16)).toBe(0);
        same += length;
      }
      expect(same).toBeGreaterThan(0);
    },
  );

  it("a page that can't be unpacked is told, and absent with --partial, to a file and to a pipe", async () => {
    const { bytes, page } = await damagedPage(inputs["a kdump"] ?? new Uint8Array(0));
    const refused = extract(bytes);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain("[kdump/page/damaged]");
    expect(fs.existsSync(refused.out)).toBe(false);
    for (const to of ["elf", "kdump", "lime"]) {
      const taken = extract(bytes, "--partial", "--json", "--to", to);
      expect(taken.status, taken.stderr).toBe(0);
      const { absent, missing } = JSON.parse(taken.stdout) as ExtractDocument;
      expect(absent).toBe(4096);
      const reason = { kind: "damaged", text: "damaged (kdump/page/damaged)" };
      expect(missing).toEqual([{ start: page, end: page + 4096, presence: "absent", reason }]);
    }
    const toFile = extract(bytes, "--partial");
    expect(toFile.stderr).toContain(`missing 0x${page.toString(16)}-`);
    const piped = runCli(["extract", path.join(folder, `${runs}.in`), "-", "--partial"]);
    expect(piped.status, piped.stderr).toBe(0);
  });

  it.each(["elf", "kdump"])("writes nothing to %s when nothing or not all is there, and ends", (to) => {
    const nothing = cut(inputs["a flattened kdump"] ?? new Uint8Array(0), 0.7);
    const part = cut(inputs["an ELF vmcore"] ?? new Uint8Array(0), 0.7);
    for (const [bytes, options, said, status] of [
      [nothing, ["--partial"], "nothing written: none of that memory is in the input", 1],
      [part, [], "nothing written; --partial writes what is there", 1],
      [part, ["--range", "0x7000000000000-0x7000000001000"], "no memory in that range", 2],
      [new Uint8Array(0), [], "the input is empty", 1],
    ] as const) {
      const refused = extract(bytes, "--to", to, ...options);
      expect(refused.stderr).toContain(said);
      expect(refused.status).toBe(status);
      expect(fs.existsSync(refused.out)).toBe(false);
    }
  });

  const wrongHeaders = (name: string): Uint8Array => {
    const bytes = (inputs[name] ?? new Uint8Array(0)).slice();
    return bytes.fill(0xff, 8, 64);
  };

  it.each(["a kdump", "a legacy stream", "a version 3 stream"])(
    "headers of %s that are wrong are an error",
    (name) => {
      const { status, stderr, out } = extract(wrongHeaders(name));
      expect(status).toBe(1);
      expect(stderr).not.toMatch(/internal error/);
      expect(fs.existsSync(out)).toBe(false);
    },
  );

  it.each([
    ["a kdump", /headers made anew/],
    ["a version 3 stream", /damaged head: the guest type is PV/],
    ["a legacy stream", /lost.*the stream's head/],
  ])("headers of %s that are wrong are made anew with --partial", (name, said) => {
    const whole = extract(inputs[name] ?? new Uint8Array(0), "--to", "raw");
    const memory = fs.readFileSync(whole.out);
    const { status, stderr, out } = extract(wrongHeaders(name), "--partial", "--to", "raw");
    expect(status).toBe(0);
    expect(stderr).toMatch(said);
    expect(fs.readFileSync(out).equals(memory)).toBe(true);
  });
});

describe.skipIf(skipUnless(built, "dist/ (npm run build)"))("pipes", () => {
  const read = (...args: readonly string[]): Run => runCli(args);
  const pipe = (input: Uint8Array, ...args: readonly string[]): Run => runCli([...args, "-"], { input });

  it.each(["vmcore/machines/arm.flat.gz", "vmcore/machines/s390x.elf.gz", "xen-legacy/hvm64-bare.legacy.gz"])(
    "%s is verified and inspected like the file, packed and as it is",
    (name) => {
      const packed = new Uint8Array(fs.readFileSync(path.join(fixtures, name)));
      const file = path.join(folder, path.basename(name, ".gz"));
      fs.writeFileSync(file, unpack(name));
      for (const input of [packed, unpack(name)]) {
        const verified = pipe(input, "verify");
        expect(verified.stderr).toBe("");
        expect(verified.stdout).toMatch(/valid\n$/);
        expect(verified.status).toBe(0);
        const { stdout, status } = pipe(input, "inspect", "--json");
        expect(status).toBe(0);
        const whole = JSON.parse(read("inspect", "--json", file).stdout) as { kind: string; vcpus: unknown };
        expect(JSON.parse(stdout)).toMatchObject({ kind: whole.kind, vcpus: whole.vcpus });
      }
    },
  );

  it("what is no format is a finding there, too", () => {
    expect(pipe(Buffer.from("hello\n"), "verify").stdout).toContain("[open/unknown]");
    expect(pipe(Buffer.from("hello\n"), "inspect").status).toBe(1);
    expect(pipe(new Uint8Array(0), "verify").stdout).toContain("[open/empty]");
  });
});
