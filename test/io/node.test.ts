import { execFileSync, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ByteReader } from "../../src/io/byte-reader.js";
import { SystemError, UsageError } from "../../src/findings/errors.js";
import { DescriptorStream, FileSource, openFile, openInput } from "../../src/io/node/files.js";
import { FileSink, openOutput, SpoolFile } from "../../src/io/node/output.js";
import { scratch } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const file = (name: string): string => path.join(folder, name);

describe("inputs", () => {
  it("a file is a source; small and large reads agree", async () => {
    const bytes = Uint8Array.from({ length: 700_000 }, (_, i) => i % 251);
    fs.writeFileSync(file("plain"), bytes);
    const source = openInput(file("plain"));
    expect(source).toBeInstanceOf(FileSource);
    if (!(source instanceof FileSource)) return;
    const large = new Uint8Array(600_000);
    expect(await source.read(50_000, large)).toBe(600_000);
    expect(Buffer.compare(large, bytes.subarray(50_000, 650_000))).toBe(0);
    const small = new Uint8Array(100);
    expect(source.read(699_950, small)).toBe(50);
    source.close();
    source.close();
  });

  it("names what can't be opened", () => {
    expect(() => openInput(folder)).toThrow(SystemError);
    expect(() => openInput(folder)).toThrow(/directory/);
    expect(() => openInput(file("none"))).toThrow(/no such file/);
    expect(() => openInput("9999", { descriptors: true })).toThrow(/not an open descriptor/);
  });

  it("what must be read at any offset is no pipe, folder or device, and nothing waits for it", () => {
    const fifo = file("fifo-random");
    execFileSync("mkfifo", [fifo]);
    expect(() => openFile(fifo)).toThrow(/not a regular file/);
    expect(() => openFile("/dev/null")).toThrow(/not a regular file/);
    expect(() => openFile(folder)).toThrow(/is a directory/);
    expect(() => openFile(file("none"))).toThrow(/no such file/);
  });

  it.each(["block", "yield"] as const)("reads a pipe to its end (%s)", async (waiting) => {
    const fifo = file(`fifo-${waiting}`);
    const child = spawn("bash", [
      "-c",
      `mkfifo ${fifo}; exec 3>${fifo}; for i in 1 2 3; do printf 'abc' >&3; sleep 0.05; done`,
    ]);
    while (!fs.existsSync(fifo)) await new Promise((resolve) => setTimeout(resolve, 5));
    const fd = fs.openSync(fifo, "r");
    const reader = new ByteReader(new DescriptorStream(fd, "fifo", waiting));
    expect(await reader.need(9)).toBe(true);
    expect(new TextDecoder().decode(reader.take(9))).toBe("abcabcabc");
    expect(await reader.need(1)).toBe(false);
    fs.closeSync(fd);
    child.kill();
  });
});

describe("outputs", () => {
  it("have their name only when whole, and mode 0600", async () => {
    const sink = new FileSink(file("out"));
    await sink.write(Uint8Array.of(1, 2, 3));
    await sink.writeAt(10, Uint8Array.of(9));
    sink.truncate(20);
    expect(fs.existsSync(file("out"))).toBe(false);
    sink.commit();
    expect([...fs.readFileSync(file("out"))]).toEqual([
      1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    expect(fs.statSync(file("out")).mode & 0o777).toBe(0o600);
  });

  it("replace an existing file only when asked, and leave nothing when abandoned", async () => {
    fs.writeFileSync(file("old"), "old");
    expect(() => openOutput(file("old"))).toThrow(UsageError);
    const sink = openOutput(file("old"), { force: true });
    await sink.write(Uint8Array.of(1));
    sink.abandon();
    sink.commit();
    expect(fs.readFileSync(file("old"), "utf8")).toBe("old");
    expect(fs.readdirSync(folder).filter((name) => name.includes("partial"))).toEqual([]);
  });

  it("leave nothing behind on a signal and die of it", async () => {
    const target = file("interrupted");
    const code = `import { FileSink } from ${JSON.stringify(path.resolve(import.meta.dirname, "../../src/io/node/output.ts"))};
      const sink = new FileSink(${JSON.stringify(target)}); await sink.write(new Uint8Array(10)); process.stdout.write("ready"); setInterval(() => {}, 1000);`;
    fs.writeFileSync(file("hold.mts"), code);
    const child = spawn(process.execPath, ["--import", "tsx", file("hold.mts")], {
      cwd: path.resolve(import.meta.dirname, "../.."),
    });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    expect(fs.readdirSync(folder).some((name) => name.includes(".interrupted."))).toBe(true);
    child.kill("SIGTERM");
    const signal = await new Promise((resolve) => child.once("exit", (_code, name) => resolve(name)));
    expect(signal).toBe("SIGTERM");
    expect(fs.readdirSync(folder).some((name) => name.includes("interrupted"))).toBe(false);
  });

  it("a spool file has no name and reads back what was written", async () => {
    const spool = new SpoolFile(folder);
    await spool.write(Uint8Array.of(1, 2, 3, 4));
    await spool.writeAt(2, Uint8Array.of(7));
    const into = new Uint8Array(8);
    expect(await spool.read(0, into)).toBe(4);
    expect([...into.subarray(0, 4)]).toEqual([1, 2, 7, 4]);
    expect(fs.readdirSync(folder).filter((name) => name.includes("spool"))).toEqual([]);
    spool.close();
  });
});
