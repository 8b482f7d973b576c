import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { foldLine } from "../src/cli/fold.js";

/**
 * `npm run build:deb [-- --binary FILE] [--out DIRECTORY] [--fast]`: a Debian package of the single executable
 * (`npm run build:binary` comes first), with manual pages and completions, packed by dpkg-deb. `--fast` packs less well.
 */
const root = path.resolve(import.meta.dirname, "..");
const { values } = parseArgs({
  options: { binary: { type: "string" }, out: { type: "string" }, fast: { type: "boolean" } },
});
const binary = path.resolve(values.binary ?? path.join(root, `dist-binary/guestscope-linux-${process.arch}`));
const out = path.resolve(values.out ?? path.join(root, "dist-binary"));
const { version, description } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as {
  version: string;
  description: string;
};
/** There is no public address yet: see CONTRIBUTING.md. */
const MAINTAINER = "guestscope maintainers <guestscope@packages.invalid>";
/** Other names of the program: it runs as what it is called. */
const DROP_INS = ["convert-legacy-stream", "dump-guest-memory", "verify-stream-v2"];
/** Columns of a description. */
const LINE = 76;
/** e_machine at 18, little endian. */
const ARCHITECTURES: Readonly<Record<number, string>> = { 62: "amd64", 183: "arm64" };

const executable = fs.readFileSync(binary);
const architecture = ARCHITECTURES[executable.readUInt16LE(18)];
if (architecture === undefined) throw new Error(`${binary}: no architecture of Debian's that is known here`);

/** The newest version of the C library's symbols that the program needs: `2.28`. */
function neededLibc(): string {
  const minors = Array.from(executable.toString("latin1").matchAll(/\0GLIBC_2\.(\d+)(?=\0)/g), ([, minor]) =>
    Number(minor),
  );
  if (minors.length === 0) throw new Error(`${binary}: needs no C library that is known here`);
  return `2.${Math.max(...minors)}`;
}

/** What a package of these programs prints without being built for this machine: by the programs in dist/. */
const completion = (shell: string): string =>
  execFileSync(process.execPath, [path.join(root, "dist/cli/main.js"), "completion", shell], {
    encoding: "utf8",
  });

const gzipped = (text: string | Uint8Array): Uint8Array => gzipSync(text, { level: 9 });
const tree = fs.mkdtempSync(path.join(os.tmpdir(), "guestscope-deb-"));

function place(name: string, contents: string | Uint8Array, mode = 0o644): void {
  const file = path.join(tree, name);
  fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o755 });
  fs.writeFileSync(file, contents);
  fs.chmodSync(file, mode);
}

function filesBelow(directory: string): string[] {
  return fs
    .readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
}

try {
  fs.chmodSync(tree, 0o755);
  place("usr/bin/guestscope", executable, 0o755);
  for (const name of DROP_INS) fs.symlinkSync("guestscope", path.join(tree, "usr/bin", name));
  place("usr/share/man/man1/guestscope.1.gz", gzipped(fs.readFileSync(path.join(root, "man/guestscope.1"))));
  for (const name of DROP_INS)
    fs.symlinkSync("guestscope.1.gz", path.join(tree, `usr/share/man/man1/${name}.1.gz`));
  place("usr/share/bash-completion/completions/guestscope", completion("bash"));
  place("usr/share/zsh/vendor-completions/_guestscope", completion("zsh"));
  place("usr/share/fish/vendor_completions.d/guestscope.fish", completion("fish"));
  const others =
    "\nIt holds Node.js and packages by others: /usr/share/doc/guestscope/LICENSES.txt.gz has their licences.\n";
  place(
    "usr/share/doc/guestscope/copyright",
    `${fs.readFileSync(path.join(root, "LICENSE"), "utf8")}${others}`,
  );
  place("usr/share/doc/guestscope/LICENSES.txt.gz", gzipped(fs.readFileSync(`${binary}.LICENSES.txt`)));
  const date = new Date().toUTCString().replace("GMT", "+0000");
  const entry = `guestscope (${version}) unstable; urgency=medium\n\n  * As CHANGELOG.md of the project says.\n\n -- ${MAINTAINER}  ${date}\n`;
  place("usr/share/doc/guestscope/changelog.gz", gzipped(entry));
  // a single executable holds Node with the libraries that it was built with, and can't be stripped of what was put in
  place(
    "usr/share/lintian/overrides/guestscope",
    ["embedded-library", "unstripped-binary-or-object", "hardening-no-pie"]
      .map((tag) => `guestscope: ${tag}\n`)
      .join(""),
  );
  const files = filesBelow(tree);
  const sums = files.map(
    (file) =>
      `${createHash("md5").update(fs.readFileSync(file)).digest("hex")}  ${path.relative(tree, file)}\n`,
  );
  const kibibytes = files.reduce((sum, file) => sum + Math.ceil(fs.statSync(file).size / 1024), 0);
  place("DEBIAN/md5sums", sums.join(""));
  place(
    "DEBIAN/control",
    [
      "Package: guestscope",
      `Version: ${version}`,
      `Architecture: ${architecture}`,
      `Maintainer: ${MAINTAINER}`,
      `Installed-Size: ${kibibytes}`,
      `Depends: libc6 (>= ${neededLibc()}), libgcc-s1 | libgcc1, libstdc++6`,
      "Section: admin",
      "Priority: optional",
      "Description: saved state of virtual machines: verify, convert, open",
      ...foldLine(`${description}.`, LINE).map((line) => ` ${line.trim()}`),
      "",
    ].join("\n"),
  );
  fs.mkdirSync(out, { recursive: true });
  const file = path.join(out, `guestscope_${version}_${architecture}.deb`);
  const packing = values.fast === true ? ["-Zgzip", "-z1"] : ["-Zxz"];
  execFileSync("dpkg-deb", ["--root-owner-group", ...packing, "--build", tree, file], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  process.stdout.write(
    `${path.relative(process.cwd(), file)}: ${(fs.statSync(file).size / 2 ** 20).toFixed(1)} MiB\n`,
  );
} finally {
  fs.rmSync(tree, { recursive: true, force: true });
}
