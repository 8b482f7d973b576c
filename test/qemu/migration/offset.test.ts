import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { fixtures, runCli, scratch } from "../../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const stream = zlib.gunzipSync(fs.readFileSync(path.join(fixtures, "qemu-migration/tiny-compress.qevm.gz")));

function fileOf(name: string, head: Uint8Array): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, Buffer.concat([head, stream]));
  return file;
}

const raw = (file: string, ...more: string[]): { status: number; stderr: string; sum?: string } => {
  const out = path.join(folder, "out.raw");
  const { status, stderr } = runCli(["extract", "--force", file, out, "--range", "0-8M", ...more]);
  return status === 0
    ? { status, stderr, sum: createHash("sha256").update(fs.readFileSync(out)).digest("hex") }
    : { status, stderr };
};

/** It may be a damaged one. */
const ODD = /\[qevm\/header\/preceded\]\n.*\nvalid with 1 warning$/m;

describe("a stream that doesn't begin at the file's start", () => {
  const whole = raw(fileOf("whole.qevm", new Uint8Array(0)));

  it.each([
    ["zeros", new Uint8Array(0x3000), /^valid$/m],
    ["a header of an odd length", Buffer.from(`MANAGER 1.0\n${"key=value Q QEVM\n".repeat(301)}`), ODD],
    ["a header that names the magic number", Buffer.from("for QEVM\0\0\0\u0003 is what follows\n"), ODD],
  ])("is found after %s", (_, head, verdict) => {
    const file = fileOf("headed", head);
    expect(raw(file)).toEqual({ ...whole, stderr: "" });
    expect(runCli(["verify", file])).toMatchObject({ status: 0, stdout: expect.stringMatching(verdict) });
  });

  it("is read where --offset says, whatever precedes it", () => {
    const far = fileOf("far", new Uint8Array(3 << 20));
    expect([raw(far).status, runCli(["verify", far]).status]).toEqual([1, 1]);
    expect(raw(far, "--offset", "3M")).toEqual({ ...whole, stderr: "" });
    expect(runCli(["verify", far, "--offset", "0x300000"]).stdout).toMatch(/^valid$/m);
    expect(runCli(["inspect", far, "--offset", "3145728"]).stdout).toMatch(/QEMU migration stream/);
    const other = fileOf("elf", Buffer.concat([Buffer.from("\x7fELF\x02\x01\x01"), new Uint8Array(4089)]));
    expect(raw(other, "--offset", "4096")).toEqual({ ...whole, stderr: "" });
    expect(raw(far, "--offset", "17")).toMatchObject({ status: 1, stderr: expect.stringMatching(/QEVM/) });
    expect(raw(far, "--offset", "many").status).toBe(2);
  });
});
