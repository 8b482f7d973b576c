import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixtures, hasProgram, projectRoot, scratch, skipUnless } from "./shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const canRun =
  process.platform === "linux" &&
  process.arch === "x64" &&
  process.getuid?.() === 0 &&
  ["dpkg-deb", "apt-get", "chroot", "objdump"].every(hasProgram);
const TEN_MINUTES = 600_000;
/** All that the program may need. */
const LIBRARIES = ["libc6", "libgcc-s1", "libstdc++6"];
const binary = path.join(folder, "guestscope-linux-x64");

function tsx(script: string, ...args: readonly string[]): void {
  const run = spawnSync(process.execPath, ["--import", "tsx", path.join(projectRoot, script), ...args], {
    cwd: projectRoot,
    encoding: "utf8",
    timeout: TEN_MINUTES,
  });
  expect(run.status, run.stderr).toBe(0);
}

describe.skipIf(skipUnless(canRun, "a root user of Debian on x86-64 (dpkg-deb, apt-get, chroot, objdump)"))(
  "the single executable",
  { timeout: TEN_MINUTES },
  () => {
    /** A root with nothing but the libraries and the program: no shell, no /proc, no Node. */
    const root = path.join(folder, "root");
    const inRoot = (...words: readonly string[]): { status: number; output: string } => {
      const run = spawnSync("chroot", [root, ...words], {
        encoding: "utf8",
        env: { PATH: process.env.PATH ?? "" },
        timeout: TEN_MINUTES,
      });
      return { status: run.status ?? -1, output: `${run.stdout}${run.stderr}` };
    };
    const guestscope = (...words: readonly string[]): { status: number; output: string } =>
      inRoot("/usr/bin/guestscope", ...words);

    beforeAll(() => {
      tsx("scripts/build-binary.ts", "--out", binary);
      const debs = path.join(folder, "debs");
      fs.mkdirSync(debs);
      execFileSync("apt-get", ["download", "-qq", "-o", "APT::Sandbox::User=root", ...LIBRARIES], {
        cwd: debs,
      });
      for (const deb of fs.readdirSync(debs)) execFileSync("dpkg-deb", ["-x", path.join(debs, deb), root]);
      for (const directory of ["usr/bin", "tmp", "work"])
        fs.mkdirSync(path.join(root, directory), { recursive: true });
      fs.copyFileSync(binary, path.join(root, "usr/bin/guestscope"));
      for (const name of ["convert-legacy-stream", "verify-stream-v2", "dump-guest-memory"])
        fs.symlinkSync("guestscope", path.join(root, "usr/bin", name));
      const legacy = zlib.gunzipSync(fs.readFileSync(path.join(fixtures, "demo/web01.legacy.gz")));
      fs.writeFileSync(path.join(root, "work/web01.legacy"), legacy);
      fs.copyFileSync(path.join(fixtures, "linux/panic-6.1.elf.xz"), path.join(root, "work/panic.elf.xz"));
      expect(guestscope("convert", "/work/web01.legacy", "/work/web01.save").status).toBe(0);
    }, TEN_MINUTES);

    it("converts as the program on Node does, and verifies", () => {
      const out = path.join(folder, "web01.save");
      const main = path.join(projectRoot, "dist/cli/main.js");
      execFileSync(process.execPath, [main, "convert", "-q", path.join(root, "work/web01.legacy"), out]);
      expect(Buffer.compare(fs.readFileSync(path.join(root, "work/web01.save")), fs.readFileSync(out))).toBe(
        0,
      );
      expect(guestscope("verify", "/work/web01.save").status).toBe(0);
    });

    it.each(["zlib", "zstd", "lzo", "snappy"])(
      "extracts to kdump by %s in threads, as without them",
      (packing) => {
        const sizes = ["1", "3"].map((threads) => {
          const out = `/work/${packing}-${threads}.kdump`;
          const words = ["extract", "--compress", packing, "--threads", threads, "/work/web01.save", out];
          expect(guestscope(...words)).toMatchObject({ status: 0 });
          expect(guestscope("verify", out).status).toBe(0);
          return fs.readFileSync(path.join(root, out)).toString("hex");
        });
        expect(new Set(sizes).size).toBe(1);
      },
    );

    it("runs ps on a compressed vmcore, and says what it is made of", () => {
      expect(guestscope("ps", "/work/panic.elf.xz").output).toMatch(/sleep 1000001/);
      expect(guestscope("--version", "--verbose").output).toMatch(
        /^guestscope .*\ncommit .*\nnode .*\ncodecs /,
      );
    });

    it("says what it lacks where there is no /proc", () => {
      expect(guestscope("inspect", "pid:1")).toMatchObject({
        status: 2,
        output: expect.stringContaining("a process is read through /proc, which isn't here"),
      });
    });

    it("reads standard input from where it is, although nothing says where that is", () => {
      const file = path.join(folder, "later");
      fs.writeFileSync(
        file,
        Buffer.concat([Buffer.alloc(16, 1), fs.readFileSync(path.join(root, "work/web01.save"))]),
      );
      const fd = fs.openSync(file, "r");
      fs.readSync(fd, new Uint8Array(16));
      const words = [root, "/usr/bin/guestscope", "verify", "-"];
      const run = spawnSync("chroot", words, { stdio: [fd, "pipe", "pipe"], encoding: "utf8" });
      expect(run.status, run.stderr).toBe(0);
      fs.closeSync(fd);
    });

    it("is the drop-in that it is called as", () => {
      expect(inRoot("/usr/bin/verify-stream-v2", "--help").output).toMatch(/^usage: .*verify-stream-v2/i);
      expect(inRoot("/usr/bin/convert-legacy-stream", "--help").output).toMatch(
        /^usage: convert-legacy-stream/i,
      );
      expect(inRoot("/usr/bin/dump-guest-memory").output).toMatch(/usage: dump-guest-memory/);
      expect(inRoot("/usr/bin/guestscope", "dump-guest-memory").output).toMatch(/no command/);
    });

    it("serves the viewer with all its files, and the input's bytes", async () => {
      const child = spawn("chroot", [root, "/usr/bin/guestscope", "view", "--no-open", "/work/web01.save"]);
      try {
        let said = "";
        child.stdout.setEncoding("utf8");
        while (!said.includes("\n")) said += String((await once(child.stdout, "data"))[0]);
        const [url = ""] = said.split("\n");
        const page = await (await fetch(url)).text();
        const parts = Array.from(
          page.matchAll(/(?:src|href)="([^"]+\.(?:js|css|svg))"/g),
          ([, name]) => name ?? "",
        );
        expect(parts.length).toBeGreaterThan(0);
        for (const part of parts) {
          const reply = await fetch(new URL(part, url));
          expect([part, reply.status]).toEqual([part, 200]);
          expect((await reply.arrayBuffer()).byteLength).toBeGreaterThan(0);
        }
        const head = await fetch(new URL("input/0", url), { headers: { range: "bytes=0-31" } });
        const save = fs.readFileSync(path.join(root, "work/web01.save"));
        expect(Buffer.from(await head.arrayBuffer())).toEqual(save.subarray(0, 32));
      } finally {
        child.kill();
      }
    });

    it("needs no C library newer than the one that docs/installing.md names", () => {
      const symbols = execFileSync("objdump", ["-T", binary], { encoding: "utf8", maxBuffer: 1 << 28 });
      const minors = Array.from(symbols.matchAll(/GLIBC_2\.(\d+)/g), ([, minor]) => Number(minor));
      const page = fs.readFileSync(path.join(projectRoot, "docs/installing.md"), "utf8");
      expect(page).toContain(`glibc 2.${Math.max(...minors)} `);
    });

    it("makes a Debian package that lintian takes and dpkg installs", () => {
      tsx("scripts/build-deb.ts", "--binary", binary, "--out", folder, "--fast");
      const deb = path.join(folder, fs.readdirSync(folder).find((name) => name.endsWith(".deb")) ?? "");
      if (!skipUnless(hasProgram("lintian"), "lintian")) {
        const run = spawnSync("lintian", ["--allow-root", "--fail-on", "error,warning", deb], {
          encoding: "utf8",
          timeout: TEN_MINUTES,
        });
        expect({ status: run.status, output: run.stdout }).toEqual({ status: 0, output: "" });
      }
      fs.mkdirSync(path.join(root, "var/lib/dpkg/info"), { recursive: true });
      fs.mkdirSync(path.join(root, "var/lib/dpkg/updates"), { recursive: true });
      const known = LIBRARIES.map(
        (name) =>
          `Package: ${name}\nStatus: install ok installed\nMaintainer: a\nArchitecture: amd64\nVersion: 999\nDescription: a\n`,
      );
      fs.writeFileSync(path.join(root, "var/lib/dpkg/status"), `${known.join("\n")}\n`);
      for (const name of fs.readdirSync(path.join(root, "usr/bin")))
        fs.rmSync(path.join(root, "usr/bin", name));
      const install = spawnSync("dpkg", ["--root", root, "--install", deb], { encoding: "utf8" });
      expect(install.status, install.stderr).toBe(0);
      expect(inRoot("/usr/bin/guestscope", "--version").output).toMatch(/^guestscope /);
      expect(inRoot("/usr/bin/verify-stream-v2", "--help").output).toMatch(/^usage/i);
      const placed = [
        "usr/share/man/man1/guestscope.1.gz",
        "usr/share/bash-completion/completions/guestscope",
        "usr/share/zsh/vendor-completions/_guestscope",
        "usr/share/fish/vendor_completions.d/guestscope.fish",
      ];
      for (const file of placed) expect(fs.existsSync(path.join(root, file)), file).toBe(true);
    });
  },
);

const EMULATOR = "/usr/bin/qemu-aarch64-static";
const canEmulate = canRun && fs.existsSync(EMULATOR);

describe.skipIf(skipUnless(canEmulate, `${EMULATOR}, or a root user of Debian on x86-64`))(
  "the single executable for arm64",
  { timeout: TEN_MINUTES },
  () => {
    const root = path.join(folder, "arm64");
    const emulated = (program: string, ...words: readonly string[]): { status: number; output: string } => {
      const run = spawnSync("chroot", [root, EMULATOR, "-0", program, `/usr/bin/${program}`, ...words], {
        encoding: "utf8",
        env: { PATH: process.env.PATH ?? "" },
        timeout: TEN_MINUTES,
      });
      return { status: run.status ?? -1, output: `${run.stdout}${run.stderr}` };
    };

    /** Debian's libraries for arm64, by a state of apt's of their own: this machine need not know the architecture. */
    function unpackLibraries(): void {
      const state = path.join(folder, "apt");
      for (const name of ["lists/partial", "cache/archives/partial"])
        fs.mkdirSync(path.join(state, name), { recursive: true });
      fs.writeFileSync(path.join(state, "status"), "");
      const [, suite] = /^VERSION_CODENAME=(\w+)$/m.exec(fs.readFileSync("/etc/os-release", "utf8")) ?? [];
      const keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
      fs.writeFileSync(
        path.join(state, "sources.list"),
        `deb [signed-by=${keys}] http://deb.debian.org/debian ${suite} main\n`,
      );
      const settings = {
        "Dir::Etc::sourcelist": path.join(state, "sources.list"),
        "Dir::Etc::sourceparts": "-",
        "Dir::State": state,
        "Dir::State::status": path.join(state, "status"),
        "Dir::Cache": path.join(state, "cache"),
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
      };
      const options = Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
      execFileSync("apt-get", [...options, "-qq", "update"], { cwd: state });
      execFileSync("apt-get", [...options, "-qq", "download", ...LIBRARIES], { cwd: state });
      for (const name of fs.readdirSync(state))
        if (name.endsWith(".deb")) execFileSync("dpkg-deb", ["-x", path.join(state, name), root]);
    }

    beforeAll(() => {
      unpackLibraries();
      for (const directory of ["usr/bin", "tmp", "work"])
        fs.mkdirSync(path.join(root, directory), { recursive: true });
      tsx("scripts/build-binary.ts", "--arch", "arm64", "--out", path.join(root, "usr/bin/guestscope"));
      fs.copyFileSync(EMULATOR, path.join(root, EMULATOR));
      fs.symlinkSync("guestscope", path.join(root, "usr/bin/convert-legacy-stream"));
      const legacy = zlib.gunzipSync(fs.readFileSync(path.join(fixtures, "demo/web01.legacy.gz")));
      fs.writeFileSync(path.join(root, "work/web01.legacy"), legacy);
      fs.copyFileSync(path.join(fixtures, "linux/panic-6.1.elf.xz"), path.join(root, "work/panic.elf.xz"));
    }, TEN_MINUTES);

    it("is one for arm64, and the drop-in that it is called as", () => {
      expect(emulated("guestscope", "--version", "--verbose").output).toMatch(/\nnode .*\(linux arm64\)/);
      expect(emulated("convert-legacy-stream", "--help").output).toMatch(/^usage: convert-legacy-stream/i);
    });

    it("converts, verifies and extracts in threads to what the program on Node makes", () => {
      const made = [
        ["convert", "-q", "web01.legacy", "web01.save"],
        ["extract", "-q", "--compress", "zstd", "--threads", "3", "web01.save", "web01.kdump"],
      ];
      const main = path.join(projectRoot, "dist/cli/main.js");
      for (const words of made) {
        const [input = "", output = ""] = words.slice(-2);
        const options = words.slice(0, -2);
        expect(emulated("guestscope", ...options, `/work/${input}`, `/work/${output}`)).toMatchObject({
          status: 0,
        });
        const there = path.join(root, "work", output);
        const here = path.join(root, "work", `here-${output}`);
        execFileSync(process.execPath, [main, ...options, path.join(root, "work", input), here]);
        // byte for byte but for the input's name, which a kdump has in it
        expect(fs.statSync(there).size).toBe(fs.statSync(here).size);
        execFileSync(process.execPath, [main, "diff", "-q", there, here]);
        expect(emulated("guestscope", "verify", `/work/${output}`).status).toBe(0);
      }
    });

    it("runs ps on a compressed vmcore", () => {
      expect(emulated("guestscope", "ps", "/work/panic.elf.xz").output).toMatch(/sleep 1000001/);
    });
  },
);
