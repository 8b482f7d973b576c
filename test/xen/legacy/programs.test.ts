import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { convertLegacy } from "../../../src/xen/legacy/convert.js";
import { projectRoot, runCli, scratch, skipUnless } from "../../shared.js";
import { readConverted } from "./read-converted.js";
import { sample } from "./streams.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const HANDSHAKE = "domain is yours, you are cleared to unpause";
const helper = path.join(projectRoot, "dist/cli/compat/convert-legacy-stream.js");
const node = process.execPath;
const program = { program: "compat/convert-legacy-stream.js" };
const file = (name: string): string => path.join(folder, name);
const hvm = sample("hvm64-params", folder);
const pv = sample("pv64-live", folder);
const xl = sample("hvm64-xsmall", folder);

async function expected(stream: Uint8Array, format: "libxc" | "libxl" | "xl"): Promise<Buffer> {
  const sink = new MemorySink();
  await convertLegacy(bytesSource(stream), sink, { format, keepQemuRecord: true });
  return Buffer.from(sink.bytes());
}

function shell(command: string): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync("bash", ["-c", command], { cwd: folder, encoding: "utf8" });
  return { status, stderr };
}

beforeAll(() => {
  for (const one of [hvm, pv, xl]) {
    fs.writeFileSync(file(one.name), one.stream);
    fs.writeFileSync(file(`${one.name}+`), Buffer.concat([one.stream, Buffer.from(HANDSHAKE)]));
  }
});

describe("convert-legacy-stream, as libxl calls it", () => {
  const cases = [
    ["hvm", "a pipe", `cat ${hvm.name}+ |`, ""],
    ["hvm", "a file", "", `< ${hvm.name}+`],
    ["pv", "a pipe", `cat ${pv.name}+ |`, ""],
    ["pv", "a file", "", `< ${pv.name}+`],
  ] as const;

  it.each(cases)(
    "converts an %s stream from %s and leaves what follows unread",
    async (guest, _, before, after) => {
      const call = `${node} ${helper} --in 5 --out 6 --width 64 --guest ${guest} --format libxl`;
      const { status, stderr } = shell(
        `set -o pipefail; ${before} { ${call} 5<&0 6>&1 | cat > out; ended=\${PIPESTATUS[0]}; cat > rest; exit $ended; } ${after}`,
      );
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      const { stream } = guest === "hvm" ? hvm : pv;
      expect(fs.readFileSync(file("out")).equals(await expected(stream, "libxl"))).toBe(true);
      expect(fs.readFileSync(file("rest"), "utf8")).toBe(HANDSHAKE);
    },
  );

  it("starts at its descriptor's position in a file", async () => {
    const call = `${node} ${helper} --in 5 --out 6 --width 64 --guest pv --format libxl 5<&0 6> out`;
    fs.writeFileSync(file("prefixed"), Buffer.concat([Buffer.alloc(1000, 7), pv.stream]));
    expect(shell(`{ dd bs=1000 count=1 of=/dev/null status=none; ${call}; } < prefixed`)).toEqual({
      status: 0,
      stderr: "",
    });
    expect(fs.readFileSync(file("out")).equals(await expected(pv.stream, "libxl"))).toBe(true);
  });

  it("trusts the stream over a width that is a guess, not over the kind of guest", () => {
    const call = (width: number, guest: string): { status: number | null; stderr: string } =>
      shell(`cat ${hvm.name} | ${node} ${helper} -i0 -o1 -w${width} -g ${guest} > out`);
    expect(call(32, "hvm")).toMatchObject({
      status: 0,
      stderr: expect.stringContaining("legacy/width-guess") as string,
    });
    expect(call(64, "pv")).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("hvm stream") as string,
    });
  });

  it("ends with an error when its reader goes away", () => {
    const call = `${node} ${helper} --in 5 --out 6 --width 64 --guest hvm --format libxl 5<&0 6>&1`;
    const { status, stderr } = shell(
      `cat ${hvm.name} | { ${call}; echo $? > status; } | head -c 1000 > /dev/null`,
    );
    expect(status).toBe(0);
    expect(fs.readFileSync(file("status"), "utf8")).toBe("1\n");
    expect(stderr).toContain("the reader went away");
  });

  it.each([
    ["a descriptor", ["--out", "1"]],
    ["a path", ["--out", "unfinished"]],
  ])("dies of SIGTERM while it waits for input, writing to %s", async (_, out) => {
    const child = spawn(node, [helper, "--in", "0", ...out, "--width", "64", "--guest", "hvm"], {
      cwd: folder,
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin.write(hvm.stream.subarray(0, 100_000));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const ended = new Promise<NodeJS.Signals | null>((resolve) =>
      child.once("exit", (_code, signal) => resolve(signal)),
    );
    child.kill("SIGTERM");
    expect(await ended).toBe("SIGTERM");
    expect(fs.readdirSync(folder).filter((name) => name.includes("unfinished"))).toEqual([]);
  });

  it("takes options abbreviated, joined and attached", async () => {
    const run = runCli(
      [`--i=${file(hvm.name)}`, "-o", file("out"), "--wi", "64", "--gu=hvm", "-vflibxl"],
      program,
    );
    expect(run).toMatchObject({ status: 0, stderr: "" });
    expect(run.stdout).toContain("TSC info: mode 1");
    expect(fs.readFileSync(file("out")).equals(await expected(hvm.stream, "libxl"))).toBe(true);
  });

  it("takes an xl header with -x and writes one", async () => {
    const run = runCli(["-xi", file(xl.name), "-o", file("out"), "-w64", "-ghvm"], program);
    expect(run).toMatchObject({ status: 0, stderr: "" });
    expect(fs.readFileSync(file("out")).equals(await expected(xl.stream, "xl"))).toBe(true);
    const without = runCli(["-xi", file(hvm.name), "-o", file("out"), "-w64", "-ghvm"], program);
    expect(without).toMatchObject({ status: 1, stderr: expect.stringContaining("no xl header") as string });
  });

  it("writes libxc by default, with the QEMU record after it unless it is skipped", async () => {
    const call = ["-i", file(hvm.name), "-o", file("out"), "-w64", "-ghvm"];
    expect(runCli(call, program).status).toBe(0);
    const whole = fs.readFileSync(file("out"));
    expect(whole.equals(await expected(hvm.stream, "libxc"))).toBe(true);
    expect(runCli([...call, "--skip-qemu"], program).status).toBe(0);
    expect(fs.readFileSync(file("out")).equals(whole.subarray(0, -readConverted(whole).rest.length))).toBe(
      true,
    );
  });

  it("has the exit statuses of the stock program", () => {
    expect(runCli([], program)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("Usage:") as string,
    });
    expect(runCli(["--help"], program)).toMatchObject({ status: 0, stderr: "" });
    expect(runCli(["-w", "16"], program)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("invalid choice") as string,
    });
    expect(runCli(["--frobnicate"], program).status).toBe(2);
    const missing = runCli(["-i", file("nothing"), "-o", file("none"), "-w64", "-ghvm"], program);
    expect(missing).toMatchObject({ status: 1, stderr: expect.stringContaining("no such file") as string });
    fs.writeFileSync(file("cut"), hvm.stream.subarray(0, 50_000));
    const cut = runCli(["-i", file("cut"), "-o", file("none"), "-w64", "-ghvm"], program);
    expect(cut).toMatchObject({ status: 1, stderr: expect.stringContaining("Stream Error:") as string });
    expect(fs.readdirSync(folder).filter((name) => name.includes("none"))).toEqual([]);
  });
});

describe("guestscope convert", () => {
  it("reports what it did, and each chunk of the stream when verbose", () => {
    const run = runCli(["convert", "--force", file(pv.name), file("out"), "-v"]);
    expect(run).toMatchObject({ status: 0, stderr: "" });
    expect(run.stdout).toContain("header: 64-bit toolstack, PV guest");
    expect(run.stdout).toContain("unmapped pfns: 18");
    expect(run.stdout).toMatch(/pages +1182 with contents/);
  });

  it("prints a document with --json", () => {
    const run = runCli(["convert", "--force", "--json", file(hvm.name), file("out")]);
    const report = JSON.parse(run.stdout) as { kind: string; parameters: Record<string, string> };
    expect(report.kind).toBe("xen-legacy-conversion");
    expect(report.parameters).toEqual(hvm.meta.hvm_params);
    expect(runCli(["convert", "--json", file(hvm.name), "-"]).status).toBe(2);
  });

  it("reads standard input and writes standard output", async () => {
    const { status } = shell(
      `cat ${pv.name} | ${node} ${projectRoot}/dist/cli/main.js convert --spool-dir . - - > out`,
    );
    expect(status).toBe(0);
    expect(fs.readFileSync(file("out")).equals(await expected(pv.stream, "libxl"))).toBe(true);
    expect(fs.readdirSync(folder).filter((name) => name.includes("spool"))).toEqual([]);
  });

  it("leaves an existing output alone, and no output after errors", () => {
    fs.writeFileSync(file("there"), "mine");
    expect(runCli(["convert", file(hvm.name), file("there")]).status).toBe(2);
    fs.writeFileSync(file("cut"), hvm.stream.subarray(0, 50_000));
    const cut = runCli(["convert", "--force", file("cut"), file("there")]);
    expect(cut).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/offset 0x[0-9a-f]+, legacy record \d+ PAGES/) as string,
    });
    expect(fs.readFileSync(file("there"), "utf8")).toBe("mine");
    const piped = shell(
      `cat cut | ${node} ${projectRoot}/dist/cli/main.js convert --format libxl - - > part`,
    );
    expect(piped).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("of an incomplete stream") as string,
    });
    expect(fs.readdirSync(folder).filter((name) => name.includes("partial"))).toEqual([]);
  });

  it("refuses flags that the stream contradicts, and reports what it shows", () => {
    const run = runCli(["convert", "--force", "--width", "32", file(hvm.name), file("out")]);
    expect(run).toMatchObject({ status: 1, stderr: expect.stringContaining("64-bit") as string });
  });
});

const VERIFIER = "/usr/lib/xen-4.17/bin/verify-stream-v2";
const noVerifier = skipUnless(
  fs.existsSync(VERIFIER) && fs.existsSync("/usr/bin/python3"),
  "Xen's own verifier",
);

describe.skipIf(noVerifier)("Xen's own verifier", () => {
  const verdict = (format: string): { status: number | null; stderr: string } =>
    shell(`PYTHONPATH=/usr/lib/xen-4.17/lib/python /usr/bin/python3 ${VERIFIER} -i out -f ${format}`);

  it.each(["hvm64-params", "pv64-live", "hvm64-remus-comp", "pv32-t64", "hvm64-live", "pv64-debug"])(
    "accepts the libxc form of %s in both versions",
    async (name) => {
      const { stream } = sample(name, folder);
      for (const version of [2, 3] as const) {
        const sink = new MemorySink();
        await convertLegacy(bytesSource(stream), sink, { version, format: "libxc" });
        fs.writeFileSync(file("out"), sink.bytes());
        expect(verdict("libxc")).toMatchObject({ status: 0 });
      }
    },
  );

  it("accepts libxl output, but for its defect with EMULATOR_XENSTORE_DATA", async () => {
    fs.writeFileSync(file("out"), await expected(pv.stream, "libxl"));
    expect(verdict("libxl")).toMatchObject({ status: 0 });
    fs.writeFileSync(file("out"), await expected(hvm.stream, "libxl"));
    // text compared with bytes: it refuses the stock converter's own output just so
    expect(verdict("libxl").stderr).toContain("Data not NUL terminated");
  });
});
