import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import type { ExtractDocument } from "../../src/cli/extract.js";
import { fixtures, runCli, scratch, skipUnless } from "../shared.js";
import { hasTerminal, main, onTerminal, shellCommand } from "./terminal-session.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);
const file = (name: string): string => path.join(folder, name);
const unpacked = (name: string): Buffer => zlib.gunzipSync(fs.readFileSync(path.join(fixtures, name)));

const legacy = file("web01.legacy");
fs.writeFileSync(legacy, unpacked("demo/web01.legacy.gz"));
const save = file("web01.save");
const converted = runCli(["convert", legacy, save]);
const shell = (command: string): { status: number; stdout: string; stderr: string } => {
  const { status, stdout, stderr } = spawnSync("bash", ["-c", command], { cwd: folder, encoding: "utf8" });
  return { status: status ?? -1, stdout, stderr };
};

describe("the input is never written over", () => {
  const before = fs.readFileSync(save);
  fs.linkSync(save, file("hard-link"));
  fs.symlinkSync(save, file("symbolic-link"));

  it.each(["web01.save", "hard-link", "symbolic-link"])("by name: %s, --force or not", (name) => {
    for (const force of [[], ["--force"]]) {
      const run = runCli(["extract", ...force, save, file(name)]);
      expect(run).toMatchObject({
        status: 2,
        stderr: expect.stringContaining("is an input as well") as string,
      });
      expect(fs.readFileSync(save).equals(before)).toBe(true);
    }
  });

  it("by descriptor, nor by a drop-in program", () => {
    const through = shell(`${shellCommand("extract", "--to", "raw", save, "-")} 1<>web01.save`);
    expect(through).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("is an input as well") as string,
    });
    expect(fs.readFileSync(save).equals(before)).toBe(true);
    fs.copyFileSync(legacy, file("copy"));
    const helper = path.join(path.dirname(main), "compat/convert-legacy-stream.js");
    for (const [input, output, redirect] of [
      ["copy", "copy", ""],
      ["5", "6", "5<copy 6<>copy"],
    ]) {
      const run = shell(`${process.execPath} ${helper} -i ${input} -o ${output} -w 64 -g hvm ${redirect}`);
      expect(run).toMatchObject({
        status: 1,
        stderr: expect.stringContaining("is an input as well") as string,
      });
      expect(fs.readFileSync(file("copy")).equals(fs.readFileSync(legacy))).toBe(true);
    }
    expect(runCli(["convert", "--force", legacy, legacy]).status).toBe(2);
  });
});

describe("numbers", () => {
  it.each([
    [["--threads", "0"], /--threads 0: a whole number from 1 to 64/],
    [["--threads", "500"], /--threads 500: a whole number from 1 to 64/],
    [["--level", "10"], /--level 10: zlib has levels from 0 to 9/],
    [["--level", "99"], /--level 99: a whole number from 0 to 22/],
    [["--level", "0", "--compress", "zstd"], /zstd has levels from 1 to 22/],
    [["--level", "1", "--compress", "lzo"], /'lzo' has no levels/],
    [["--range", "2M-1M"], /START\+LENGTH/],
    [["--range", "1X+4"], /START\+LENGTH/],
  ])("%j is refused with its range", (options, message) => {
    const run = runCli(["extract", save, file("never"), "--to", "kdump", ...options]);
    expect(run.status).toBe(2);
    expect(run.stderr).toMatch(message);
    expect(fs.existsSync(file("never"))).toBe(false);
  });

  it("as many threads as are allowed work", () => {
    const run = runCli(["extract", save, file("many.kdump"), "--threads", "64"]);
    expect(run).toMatchObject({ status: 0, stderr: "" });
  });

  it("addresses take a length and units", () => {
    const sizes = ["1M+64K", "0x100000-0x110000", "1048576+0x10000", "1MiB-1088KiB"].map((range) => {
      const out = file(`${range}.raw`);
      const run = runCli(["extract", "--json", save, out, "--partial", "--range", range]);
      return [run.status, run.status === 0 ? fs.readFileSync(out).toString("hex") : run.stdout];
    });
    expect(new Set(sizes.map((one) => JSON.stringify(one))).size).toBe(1);
  });
});

describe.skipIf(skipUnless(hasTerminal, "script (util-linux)"))("on a terminal", () => {
  it("no binary is written", () => {
    for (const output of ["-", "/dev/stdout", "/dev/tty"]) {
      const run = onTerminal(shellCommand("extract", "--to", "raw", save, output));
      expect(run.status).toBe(2);
      expect(run.output).toContain("is a terminal");
    }
    expect(onTerminal(shellCommand("convert", legacy, "-"))).toMatchObject({ status: 2 });
  });

  it("TERM=dumb and NO_COLOR mean no escape sequence at all", () => {
    for (const env of [{ TERM: "dumb" }, { NO_COLOR: "1" }]) {
      expect(onTerminal(shellCommand("verify", save), { env }).output).not.toContain("\u001b[3");
    }
    expect(onTerminal(shellCommand("verify", save), { env: { TERM: "dumb" } }).output).not.toContain(
      "\u001b",
    );
    expect(onTerminal(shellCommand("verify", save)).output).toContain("\u001b[32m");
  });

  it.each([80, 200])("nothing is wider than a terminal of %d columns", (columns) => {
    const calls = [
      ["inspect", save],
      ["inspect", "--verbose", save],
      ["verify", save],
      ["explain", "--no-pager"],
      ["formats", "--no-pager"],
      ["help", "extract"],
      ["nonsense"],
    ];
    for (const call of calls) {
      const run = onTerminal(shellCommand(...call), { columns });
      expect(run.status, call.join(" ")).toBeGreaterThanOrEqual(0);
      // oxlint-disable-next-line no-control-regex
      const lines = run.output
        .split("\n")
        .map((line) => line.replace(/^[^\n]*\r\u001b\[K|\u001b\[[0-9;]*m/g, ""));
      expect(lines.filter((line) => Array.from(line).length > columns)).toEqual([]);
    }
  });

  it("long text is shown by the pager, unless --no-pager", () => {
    const env = { PAGER: "sed 's/^/paged: /'" };
    const paged = onTerminal(shellCommand("explain"), { rows: 24, env }).output;
    expect(paged).toMatch(/^paged: /);
    expect(onTerminal(shellCommand("explain", "--no-pager"), { rows: 24, env }).output).not.toContain(
      "paged",
    );
    expect(onTerminal(shellCommand("--version"), { rows: 24, env }).output).not.toContain("paged");
    expect(runCli(["explain"]).stdout).not.toContain("paged");
    // one that doesn't exist costs nothing
    const none = onTerminal(shellCommand("explain"), { rows: 24, env: { PAGER: "no-such-pager 2>&-" } });
    expect(none.output).toContain("libxc/page-data/duplicate-pfn");
  });
});

describe("a reader that goes away", () => {
  it("ends text, which a pipe would hold whole, silently with status 141", () => {
    const run = shell(`{ ${shellCommand("formats")}; echo $? >status; } | true; cat status`);
    expect(run).toEqual({ status: 0, stdout: "141\n", stderr: "" });
  });

  it.each([
    ["a dump", shellCommand("extract", "--to", "raw", save, "-")],
    ["a converted stream", shellCommand("convert", legacy, "-")],
  ])("ends %s silently with status 141", (_, command) => {
    const run = shell(`{ ${command}; echo $? >status; } | head -c 1 >/dev/null; cat status`);
    expect(run).toEqual({ status: 0, stdout: "141\n", stderr: "" });
  });
});

describe("convert says what it was given", () => {
  it("takes compressed input, from a file and a pipe", () => {
    expect(converted).toMatchObject({ status: 0, stderr: "" });
    expect(converted.stdout).toMatch(/vCPUs +\d+ \(ids? \d/);
    const packed = zlib.gzipSync(fs.readFileSync(legacy));
    fs.writeFileSync(file("legacy.gz"), packed);
    expect(runCli(["convert", file("legacy.gz"), file("from-gz")])).toMatchObject({ status: 0, stderr: "" });
    expect(runCli(["convert", "-", file("from-pipe")], { input: packed })).toMatchObject({ status: 0 });
    for (const name of ["from-gz", "from-pipe"])
      expect(fs.readFileSync(file(name)).equals(fs.readFileSync(save))).toBe(true);
  });

  it("has nothing to do for today's form, and names any other", () => {
    fs.writeFileSync(file("save.gz"), zlib.gzipSync(fs.readFileSync(save)));
    runCli(["extract", save, file("web01.kdump")]);
    for (const [input, message] of [
      [save, /version 3 already: nothing to convert/],
      [file("save.gz"), /a gzip file holding a Xen stream of version 3 already/],
      [file("web01.kdump"), /a kdump-compressed dump, not a Xen stream: 'guestscope extract'/],
    ] as const) {
      const run = runCli(["convert", input, file("nothing")]);
      expect(run.status).toBe(2);
      expect(run.stderr).toMatch(message);
      expect(fs.existsSync(file("nothing"))).toBe(false);
    }
  });
});

describe("--json", () => {
  const failures: [string, string[], string][] = [
    ["no command", ["--json"], "usage"],
    ["an unknown command", ["inspekt", "--json"], "usage"],
    ["an unknown option", ["inspect", "--json", "--nonsense", "x"], "usage"],
    ["no input", ["inspect", "--json"], "usage"],
    ["a bad number", ["extract", "--json", "--threads", "x", "a", "b"], "usage"],
    ["a missing file", ["inspect", "--json", file("nothing")], "os/ENOENT"],
    ["a file of no known format", ["inspect", "--json", main], "open/unknown"],
    ["an unknown code", ["explain", "--json", "nonsense"], "usage"],
    ["an unknown structure", ["formats", "--json", "nonsense"], "usage"],
    ["an existing output", ["extract", "--json", save, legacy], "usage"],
  ];
  it.each(failures)("prints one document for %s", (_, args, code) => {
    const { status, stdout, stderr } = runCli(args);
    const document = JSON.parse(stdout) as { kind: string; error: { code: string; status: number } };
    expect(document).toMatchObject({ schemaVersion: 1, kind: "error", error: { code, status } });
    expect(status).toBeGreaterThan(0);
    expect(stderr).not.toBe("");
  });

  it("holds every input of verify, its error as data", () => {
    const { status, stdout } = runCli(["verify", "--json", save, file("nothing"), folder]);
    expect(status).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({
      inputs: [
        { source: save, valid: true, checked: "structure" },
        { source: file("nothing"), valid: false, error: { code: "os/ENOENT", message: "no such file" } },
        { source: folder, valid: false, error: { code: "os/EISDIR" } },
      ],
    });
  });

  it("gives the remedy as a flag", () => {
    const { stdout } = runCli(["extract", "--json", save, legacy]);
    expect(JSON.parse(stdout)).toMatchObject({
      error: { remedy: { flag: "--force", effect: "replaces it" } },
    });
  });
});

describe("options", () => {
  it.each([
    [["extract", "--compress", "zlib", save, file("x.raw")], /--compress: a raw memory is not compressed/],
    [["extract", "--threads", "2", save, file("x.elf")], /--threads/],
    [
      ["extract", "--debug-file", "x", save, file("x.elf")],
      /--debug-file doesn't apply to a Xen migration stream/,
    ],
    [["inspect", "--map", "pc.ram@0", save], /--map doesn't apply/],
    [["inspect", "--stop", save], /--stop goes with pid:N/],
    [["inspect", "-qv", save], /contradict/],
  ])("that can't apply are errors: %j", (args, message) => {
    const run = runCli(args);
    expect(run.status).toBe(2);
    expect(run.stderr).toMatch(message);
  });

  it.each([
    [["verfy", save], "did you mean 'verify'?"],
    [["extract", "--partail", "a", "b"], "did you mean '--partial'?"],
    [["extract", "--to", "kdmp", "a", "b"], "did you mean 'kdump'?"],
    [["formats", "libcx"], "did you mean 'libxc'?"],
  ])("nearly right are guessed: %j", (args, hint) => {
    expect(runCli(args)).toMatchObject({ status: 2, stderr: expect.stringContaining(hint) as string });
  });

  it("-q prints nothing but errors, for every command", () => {
    for (const call of [
      ["verify", save],
      ["inspect", save],
      ["explain"],
      ["formats"],
      ["convert", "--force", legacy, file("quiet")],
    ]) {
      expect(runCli([...call, "-q"])).toEqual({ status: 0, stdout: "", stderr: "" });
    }
    expect(runCli(["inspect", "-q", file("nothing")]).stderr).toContain("no such file");
  });

  it("help COMMAND is COMMAND --help, and needs no input", () => {
    const help = runCli(["help", "extract"]);
    expect(help).toMatchObject({ status: 0, stderr: "" });
    expect(help.stdout).toBe(runCli(["extract", "--help"]).stdout);
    expect(help.stdout).toContain("examples:");
    expect(runCli(["help"]).stdout).toContain("extract");
  });

  it("--version --verbose names all parts", () => {
    expect(runCli(["--version"]).stdout).toMatch(/^guestscope \d+\.\d+\.\d+\n$/);
    expect(runCli(["inspect", "--version", "--verbose"]).stdout).toMatch(/commit .*\nnode .*\ncodecs .*zstd/);
  });
});

describe("an output", () => {
  it("is of the kind that its name says, unless --to says another", () => {
    const kind = (...args: string[]): string => {
      const { stdout, stderr } = runCli(["extract", "--json", "--force", save, ...args]);
      expect(stderr).toBe("");
      return (JSON.parse(stdout) as ExtractDocument).format;
    };
    expect(kind(file("x.kdump"))).toBe("kdump");
    expect(kind(file("x.LIME"))).toBe("lime");
    expect(kind(file("x.raw"))).toBe("raw");
    expect(kind(file("x.anything"))).toBe("elf");
    expect(kind(file("x.kdump"), "--to", "lime")).toBe("lime");
  });

  it("is told with its size and disk use; a raw image has no vCPUs", () => {
    expect(runCli(["extract", save, file("y.raw")]).stdout).toMatch(
      /raw memory, .*B \(.* on disk\).*no vCPUs/,
    );
    const { stdout } = runCli(["extract", "--json", save, file("z.raw")]);
    const document = JSON.parse(stdout) as ExtractDocument;
    expect(document).toMatchObject({ vcpus: 0, vmcoreInfo: false });
    expect(document.diskUse).toBe(fs.statSync(file("z.raw")).blocks * 512);
  });

  it.each([
    ["", /name is empty/],
    [folder, /is a directory/],
    [file("no/where"), /there is no directory '.*no'/],
  ])("named %j is refused in the right words", (output, message) => {
    for (const force of [[], ["--force"]]) {
      const run = runCli(["extract", ...force, save, output]);
      expect(run.status).toBe(2);
      expect(run.stderr).toMatch(message);
      expect(run.stderr).not.toContain("--force");
    }
  });
});
