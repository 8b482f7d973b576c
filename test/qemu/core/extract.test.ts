import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openFile } from "../../../src/io/node/files.js";
import { elfVmcore } from "../../../src/vmcore/elf/format.js";
import { hasProgram, hasShared, projectRoot, runCli, scratch, skipUnless, unzstd } from "../../shared.js";
import { compileMimic, runMimic } from "./mimic.js";
import { cores, differingPages, RealCores } from "./real-cores.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const real = new RealCores(folder);
const built = fs.existsSync(path.join(projectRoot, "dist/cli/main.js"));
const skip = skipUnless(
  hasShared && hasProgram("zstd") && built,
  "../shared/data/qemu-core, zstd and dist/ (npm run build)",
);

const debugOf = (name: string): string =>
  real.debugPath(name.startsWith("v10-") ? "qemu10-system-x86_64" : "qemu-system-x86_64");

/** What QEMU's gdb script printed, from its tables on, and the file it wrote. */
function scriptOf(name: string): { tables: string; size: number; sha256: string } {
  const text = fs.readFileSync(path.join(cores, name, "script.txt"), "utf8");
  const [, tables = ""] = /^(guest RAM blocks:\n[^]*?)\n*--- exit status/m.exec(text) ?? [];
  const [, size = "", sha256 = ""] = /--- output \S+ (\d+) bytes, sha256 ([0-9a-f]{64})/.exec(text) ?? [];
  return { tables: `${tables}\n`, size: Number(size), sha256 };
}

describe.skipIf(skip)("dump-guest-memory", () => {
  const same = ["tiny-pc", "tiny-split", "tiny-virtiomem", "tiny-gcore", "q35split", "v10-tiny-split"];
  it.each(same)("%s: tables and file are those of QEMU's gdb script, byte for byte", (name) => {
    const out = path.join(folder, "out");
    const run = runCli(["--debug-file", debugOf(name), real.core(name), out], {
      program: "compat/dump-guest-memory.js",
    });
    expect(run.stderr).toBe("");
    const script = scriptOf(name);
    expect(run.stdout).toBe(script.tables);
    const bytes = fs.readFileSync(out);
    expect(bytes.length).toBe(script.size);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(script.sha256);
    fs.rmSync(out);
  });

  it("takes a memory backend's file", () => {
    const out = path.join(folder, "out");
    const file = unzstd(path.join(cores, "tiny-file33", "ram0.img.zst"), folder);
    const args = ["--debug-file", debugOf(""), "--backing", `m0=${file}`, real.core("tiny-file33"), out];
    const run = runCli(args, { program: "compat/dump-guest-memory.js" });
    expect(run.status).toBe(0);
    expect(createHash("sha256").update(fs.readFileSync(out)).digest("hex")).toBe(
      scriptOf("tiny-file33").sha256,
    );
    fs.rmSync(out);
  });

  it("refuses a backing that names no file, or several of which one is not there", () => {
    const out = path.join(folder, "out");
    for (const [backing, text] of [
      [["m0"], "--backing m0: ID=FILE is expected"],
      [[`m0=${process.execPath}`, "m1=/nowhere"], "/nowhere"],
    ] as const) {
      const given = backing.flatMap((value) => ["--backing", value]);
      const args = ["--debug-file", debugOf(""), ...given, real.core("tiny-file33"), out];
      const run = runCli(args, { program: "compat/dump-guest-memory.js" });
      expect(run.status).not.toBe(0);
      expect(run.stderr).toContain(text);
      expect(fs.existsSync(out)).toBe(false);
    }
  });

  it.each(["tiny-nodump", "tiny-nodump-gcore", "tiny-pagetrunc"])("%s: says what is missing", (name) => {
    const out = path.join(folder, "out");
    const args = ["--debug-file", debugOf(name), real.core(name), out];
    const run = runCli(args, { program: "compat/dump-guest-memory.js" });
    expect(run.status).toBe(1);
    expect(run.stderr).toContain("guest memory is not in the core");
    expect(fs.existsSync(out)).toBe(false);
  });

  it("writes ELF32 for 386 and the other architectures' headers", () => {
    const out = path.join(folder, "out");
    const expected = { 386: [1, 1, 3], "aarch64-be": [2, 2, 183], "ppc64-le": [2, 1, 21], s390: [2, 2, 22] };
    for (const [arch, [bits, data, machine]] of Object.entries(expected)) {
      const args = ["--debug-file", debugOf(""), real.core("tiny-pc"), out, arch];
      expect(runCli(args, { program: "compat/dump-guest-memory.js" }).status).toBe(0);
      const head = fs.readFileSync(out).subarray(0, 64);
      expect([head[4], head[5]]).toEqual([bits, data]);
      expect(data === 1 ? head.readUInt16LE(18) : head.readUInt16BE(18)).toBe(machine);
    }
    fs.rmSync(out);
  });
});

describe.skipIf(skip)("guestscope extract", () => {
  const extract = (name: string, out: string, ...options: string[]): ReturnType<typeof runCli> =>
    runCli(["extract", "--debug-file", debugOf(name), real.core(name), out, ...options]);

  it("writes an ELF vmcore that equals QMP's dump and goes out the same through a pipe", async () => {
    const out = path.join(folder, "split.elf");
    const run = extract("tiny-split", out);
    expect(run).toMatchObject({ status: 0, stderr: "" });
    expect(run.stdout).toContain("2 of 2 vCPUs, VMCOREINFO");
    const guest = await elfVmcore.reader.openGuest(openFile(out), {});
    expect(guest).toBeDefined();
    if (guest !== undefined)
      expect(await differingPages(guest, await real.referenceGuest("tiny-split"))).toEqual([]);
    const piped = path.join(folder, "piped.elf");
    const main = path.join(projectRoot, "dist/cli/main.js");
    const command = `${process.execPath} ${main} extract --debug-file ${debugOf("")} ${real.core("tiny-split")} - > ${piped}`;
    execFileSync("bash", ["-c", command], { stdio: ["ignore", "ignore", "ignore"] });
    expect(Buffer.compare(fs.readFileSync(piped), fs.readFileSync(out))).toBe(0);
    expect(fs.statSync(out).mode & 0o777).toBe(0o600);
  });

  it("reads a compressed core", () => {
    const out = path.join(folder, "packed.elf");
    const packed = path.join(cores, "tiny-pc", "core.zst");
    const run = runCli(["extract", "--debug-file", debugOf(""), packed, out]);
    expect(run.status).toBe(0);
    const plain = path.join(folder, "plain.elf");
    extract("tiny-pc", plain);
    // only the name of the input differs, in the provenance note
    const memory = (file: string): Buffer => fs.readFileSync(file).subarray(-(8 << 20));
    expect(Buffer.compare(memory(out), memory(plain))).toBe(0);
  });

  it("writes nothing when memory is missing, and what is there with --partial", () => {
    const out = path.join(folder, "cut.elf");
    const refused = extract("tiny-pagetrunc", out);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain(
      "missing 0x4b5123-0x800000 (3.3 MiB, 40.8% of guest memory): the core is cut short",
    );
    expect(fs.readdirSync(folder).filter((name) => name.includes("cut.elf"))).toEqual([]);
    const partial = extract("tiny-pagetrunc", out, "--partial");
    expect(partial.status).toBe(0);
    expect(partial.stdout).toContain("is missing");
    const document = JSON.parse(extract("tiny-pagetrunc", out, "--json").stdout) as Record<string, unknown>;
    expect(document).toMatchObject({
      kind: "extract",
      written: false,
      absent: 0x80_0000 - 0x4b_5123 + 2 * 0x1_0000,
    });
    // of the part that is there all is well
    const range = path.join(folder, "range.raw");
    expect(extract("tiny-pagetrunc", range, "--to", "raw", "--range", "0x100000-0x200000").status).toBe(0);
    expect(fs.statSync(range).size).toBe(1 << 20);
  });

  it("reads lost memory from its backing file, with a warning when that is newer", () => {
    const file = unzstd(path.join(cores, "tiny-file33", "ram0.img.zst"), folder);
    const out = path.join(folder, "backed.elf");
    expect(extract("tiny-file33", out).status).toBe(1);
    fs.utimesSync(real.core("tiny-file33"), 1e9, 1e9);
    const run = extract("tiny-file33", out, "--backing", `ram0.img=${file}`);
    expect(run.status).toBe(0);
    expect(run.stderr).toContain("was written after the core");
  });

  it("does not replace a file unless told to", () => {
    const out = path.join(folder, "there");
    fs.writeFileSync(out, "mine");
    expect(extract("tiny-pc", out).status).toBe(2);
    expect(fs.readFileSync(out, "utf8")).toBe("mine");
    expect(extract("tiny-pc", out, "--force", "--to", "lime").status).toBe(0);
    expect(fs.readFileSync(out).subarray(0, 4).toString()).toBe("EMiL");
  });

  it("names both build ids when the debug file is of another program", () => {
    const run = runCli([
      "extract",
      "--debug-file",
      debugOf("v10-"),
      real.core("tiny-pc"),
      path.join(folder, "x"),
    ]);
    expect(run.status).toBe(1);
    expect(run.stderr).toMatch(/39f00ca1\S+.*e493ee90/);
  });

  it("says what would bring the debug information", () => {
    const run = runCli(["extract", real.core("tiny-pc"), path.join(folder, "x"), "--debug-dir", folder]);
    expect(run.status).toBe(1);
    expect(run.stderr).toMatch(/dbgsym[^]*--debug-file/);
  });

  const noReaders = skipUnless(
    hasProgram("eu-readelf") && hasProgram("readelf") && fs.existsSync("/usr/bin/drgn"),
    "readelf, eu-readelf and drgn",
  );
  it.skipIf(noReaders)("q35split is opened by readelf, eu-readelf, drgn and makedumpfile", () => {
    const out = path.join(folder, "q35.elf");
    expect(extract("q35split", out).status).toBe(0);
    const headers = execFileSync("readelf", ["-Wl", out], { encoding: "utf8" });
    expect(headers).toMatch(/LOAD\s+0x\S+ 0xffffffffa7400000 0x0000000001000000/);
    expect(execFileSync("eu-readelf", ["-ln", out], { encoding: "utf8" })).toContain("VMCOREINFO");
    const script = path.join(folder, "banner.py");
    fs.writeFileSync(script, "print(prog.flags, prog.read(0xffffffffa7400000, 16).hex())\n");
    const drgn = ["-q", "--no-default-symbols", "-c", out, script];
    const opened = spawnSync("/usr/bin/drgn", drgn, { encoding: "utf8" });
    expect(opened.stdout).toContain("IS_LINUX_KERNEL 488d25513fa00148");
    if (hasProgram("makedumpfile")) {
      const log = path.join(folder, "dmesg");
      execFileSync("makedumpfile", ["--dump-dmesg", out, log], { stdio: "ignore" });
      expect(fs.readFileSync(log, "utf8")).toContain("Linux version 6.1.0-50-cloud-amd64");
    }
  });
});

const noGcc = skipUnless(
  built && hasProgram("gcc") && fs.existsSync("/proc/self/mem"),
  "gcc, /proc and dist/",
);
it.skipIf(noGcc)("extract reads a running process and lets it go on", async () => {
  const exe = compileMimic(folder, 702);
  const { child, pid } = await runMimic(exe);
  try {
    const out = path.join(folder, "live.raw");
    const run = runCli(["extract", "--stop", `pid:${pid}`, out, "--to", "raw", "--range", "0-0x10000"]);
    expect(run).toMatchObject({ status: 0 });
    const bytes = fs.readFileSync(out);
    expect(Array.from({ length: 16 }, (_, page) => bytes[page * 4096])).toEqual(
      Array.from({ length: 16 }, (_, page) => page + 1),
    );
    await expect.poll(() => /^State:\s+S/m.test(fs.readFileSync(`/proc/${pid}/status`, "latin1"))).toBe(true);
    expect(runCli(["inspect", `pid:${pid}`]).stdout).toContain("running QEMU process");
  } finally {
    child.kill("SIGKILL");
  }
});
