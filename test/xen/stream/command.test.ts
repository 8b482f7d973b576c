import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { spawnSync } from "node:child_process";
import { afterAll, describe, expect, it } from "vitest";
import { projectRoot, runCli, scratch } from "../../shared.js";
import { joined, makeStream } from "./stream-maker.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const good = makeStream({ guest: "hvm", version: 3, order: "little", layer: "xl" });
const libxc = makeStream({ guest: "pv", version: 2, order: "little", layer: "libxc" });
const write = (name: string, bytes: Uint8Array): string => {
  const file = path.join(folder, name);
  fs.writeFileSync(file, bytes);
  return file;
};
const goodFile = write("good.save", good);
const cutFile = write("cut.save", good.subarray(0, good.length - 20));
const trailingFile = write("trailing.save", joined(good, new Uint8Array(8)));

describe("guestscope verify", () => {
  it("says valid, from a file and from standard input", () => {
    expect(runCli(["verify", goodFile])).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/\nvalid\n$/),
    });
    expect(runCli(["verify", "-"], { input: good })).toMatchObject({ status: 0, stderr: "" });
  });

  it("says what is wrong, and ends with the verdict", () => {
    const { status, stdout } = runCli(["verify", cutFile]);
    expect(status).toBe(1);
    expect(stdout).toContain("xen/stream/truncated");
    expect(stdout.trimEnd().split("\n").at(-1)).toBe("invalid: 1 error");
  });

  it("takes several inputs and goes on after one that doesn't exist", () => {
    const { status, stdout, stderr } = runCli(["verify", goodFile, path.join(folder, "nothing"), cutFile]);
    expect(status).toBe(2);
    expect(stderr).toContain("no such file");
    expect(stdout).toContain("3 inputs: 1 valid, 1 invalid, 1 not checked");
  });

  it("counts warnings as errors when strict", () => {
    expect(runCli(["verify", trailingFile]).stdout).toMatch(/valid with 1 warning\n$/);
    expect(runCli(["verify", "--strict", trailingFile]).status).toBe(1);
  });

  it("gives a document to programs", () => {
    const { stdout } = runCli(["verify", "--json", cutFile]);
    expect(JSON.parse(stdout)).toMatchObject({
      schemaVersion: 1,
      kind: "verification",
      inputs: [
        {
          format: "xen-stream",
          valid: false,
          errors: 1,
          findings: expect.arrayContaining([expect.objectContaining({ code: "xen/stream/truncated" })]),
        },
      ],
    });
  });

  it("is silent when quiet", () => {
    expect(runCli(["verify", "-q", cutFile])).toEqual({ status: 1, stdout: "", stderr: "" });
  });

  it("unpacks what is compressed, in a file or a pipe", () => {
    const packed = zlib.gzipSync(good);
    expect(runCli(["verify", write("good.save.gz", packed)])).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/good\.save\.gz: Xen migration stream\n[^]*\nvalid\n$/),
    });
    expect(runCli(["verify", write("cut.save.gz", packed.subarray(0, -9))])).toMatchObject({
      status: 1,
      stdout: expect.stringContaining("codec/gzip"),
    });
    expect(runCli(["verify", "-"], { input: packed })).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^stdin: Xen migration stream\n[^]*\nvalid\n$/),
    });
  });

  it("reports what an input is that isn't a saved guest", () => {
    const looks: [string, Uint8Array, RegExp][] = [
      ["empty", new Uint8Array(0), /the input is empty/],
      ["jpeg", Uint8Array.of(0xff, 0xd8, 0xff, 0xe0, 0, 16, 0x4a, 0x46, 0x49, 0x46), /a JPEG picture/],
      ["text", Uint8Array.from("hello\n", (c) => c.charCodeAt(0)), /a text/],
      ["zeros", new Uint8Array(8192), /zero bytes/],
    ];
    for (const [name, bytes, message] of looks) {
      const { status, stdout } = runCli(["verify", write(name, bytes)]);
      expect([name, status]).toEqual([name, 1]);
      expect(stdout).toMatch(message);
    }
    expect(runCli(["verify", folder])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("is a directory"),
    });
  });

  it("stops quietly when its output is closed", () => {
    const program = path.join(projectRoot, "dist/cli/main.js");
    const result = spawnSync("bash", ["-c", `${process.execPath} ${program} formats | head -1`], {
      encoding: "utf8",
    });
    expect(result.stderr).toBe("");
    expect(result.stdout.split("\n").length).toBe(2);
  });
});

describe("guestscope inspect, explain and formats", () => {
  it("inspects, with status 1 for a damaged input", () => {
    expect(runCli(["inspect", goodFile])).toMatchObject({
      status: 0,
      stdout: expect.stringContaining("x86 HVM"),
    });
    expect(runCli(["inspect", cutFile])).toMatchObject({
      status: 1,
      stdout: expect.stringMatching(/^Damage\n {2}at 0x/m),
    });
  });

  it("explains a finding, and says which there are", () => {
    expect(runCli(["explain", "libxc/page-data/duplicate-pfn"]).stdout).toContain(
      "Within one record a pfn occurs once",
    );
    expect(runCli(["explain", "libxc/duplicate-pfn"])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("libxc/page-data/duplicate-pfn"),
    });
  });

  it("prints structures whose sizes are as stated", () => {
    const { status, stdout } = runCli(["formats", "libxc"]);
    expect(status).toBe(0);
    expect(stdout).toContain("libxc image header  24 bytes");
    expect(runCli(["formats"]).status).toBe(0);
    expect(runCli(["formats", "nonsense"]).status).toBe(2);
  });
});

describe("verify-stream-v2", () => {
  const program = "compat/verify-stream-v2.js";
  const run = (...args: string[]): ReturnType<typeof runCli> => runCli(args, { program });

  it("takes its options as optparse does", () => {
    const file = write("libxc", libxc);
    for (const args of [["-i", file], [`-i${file}`], ["--in", file], [`--in=${file}`], ["--i", file]]) {
      expect(run(...args)).toEqual({ status: 0, stdout: "", stderr: "" });
    }
    for (const args of [
      ["-xi", goodFile],
      ["-f", "xl", "-i", goodFile],
      ["--xl", `--in=${goodFile}`],
      ["--form=xl", "-i", goodFile],
    ]) {
      expect(run(...args).status).toBe(0);
    }
    expect(run("-f", "other").status).toBe(2);
    expect(run("--nonsense").status).toBe(2);
  });

  it("reads standard input by default", () => {
    expect(runCli([], { program, input: libxc }).status).toBe(0);
  });

  it("begins its message with Stream Error, and is silent when quiet", () => {
    const { status, stderr } = run("-xi", cutFile);
    expect(status).toBe(1);
    expect(stderr.split("\n")[0]).toBe("Stream Error:");
    expect(run("-qvxi", cutFile)).toEqual({ status: 1, stdout: "", stderr: "" });
  });

  it("summarises, with page-data records squashed", () => {
    const lines = run("-vxi", goodFile).stdout.split("\n");
    expect(lines.slice(0, 5)).toEqual([
      "Processed xl header",
      "Libxl Header: little endian",
      "Libxl Record: Libxc context, length 0",
      "Libxc Image Header: Version 3, little endian",
      "Domain Header: x86 HVM from Xen 4.17",
    ]);
    expect(lines).toContain("Squashed 1 Page Data records together");
  });

  it("takes no byte after END from a descriptor", () => {
    const file = write(
      "after",
      joined(
        libxc,
        Uint8Array.from("REST", (c) => c.charCodeAt(0)),
      ),
    );
    const script = path.join(projectRoot, "dist/cli", program);
    const both = `cat ${file} | { ${process.execPath} ${script} && cat; }`;
    expect(spawnSync("bash", ["-c", both], { encoding: "utf8" }).stdout).toBe("REST");
  });

  it("ends with 2 when the input can't be opened", () => {
    expect(run("-i", "77").status).toBe(2);
    expect(run("-i", path.join(folder, "nothing")).status).toBe(2);
  });
});
