import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { rolldown, type Plugin } from "rolldown";
import { viewerFiles } from "../src/cli/view/files.js";
import { commitLine, homeOf, INPUT, joinLicenses, licenseOf, manifestOf, MINIFY, root } from "./bundling.js";

/**
 * `npm run build:binary [-- --node FILE | --arch ARCH] [--out FILE]`: one program without need of Node, a Node
 * single-executable application. It holds the node binary given (default: the one that runs this), all programs as one script,
 * the threads' program, the viewer and the licences. With `--arch` (`x64`, `arm64`) the node binary for Linux on such machines is
 * that of npm's package, in the version of the one that runs this. `npm run build` comes first.
 */
const { values } = parseArgs({
  options: { node: { type: "string" }, arch: { type: "string" }, out: { type: "string" } },
});
if (values.node !== undefined && values.arch !== undefined)
  throw new Error("--node and --arch exclude each other: each names a node binary");
const work = fs.mkdtempSync(path.join(os.tmpdir(), "guestscope-binary-"));
process.once("exit", () => fs.rmSync(work, { recursive: true, force: true }));
const node =
  values.arch === undefined ? path.resolve(values.node ?? process.execPath) : packaged(values.arch);
/** Marks, in a node binary, the byte that says that a script was put in (doc/api/single-executable-applications.md). */
const FUSE = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

interface NodeFacts {
  readonly version: string;
  readonly platform: string;
  readonly arch: string;
}

/** Fetches npm's package of the node binary for Linux on an architecture; the binary's path. */
function packaged(architecture: string): string {
  const name = `node-linux-${architecture}@${process.versions.node}`;
  const folder = path.join(work, "node");
  fs.mkdirSync(folder);
  execFileSync("npm", ["pack", "--silent", "--pack-destination", folder, name], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [archive = ""] = fs.readdirSync(folder);
  execFileSync("tar", ["-xzf", archive, "package/bin/node", "package/LICENSE"], { cwd: folder });
  return path.join(folder, "package/bin/node");
}

/** What the node binary says of itself; one for another machine is asked through whatever runs such programs here. */
function factsOf(binary: string): NodeFacts {
  const script =
    "console.log(JSON.stringify({ version: process.version, platform: process.platform, arch: process.arch }))";
  return JSON.parse(execFileSync(binary, ["-e", script], { encoding: "utf8" })) as NodeFacts;
}

/** Refuses what can't carry a script: an interpreter's launcher, a node that was built without it. */
function checkNode(binary: string): void {
  if (!fs.readFileSync(binary).includes(FUSE))
    throw new Error(`${binary} can't become a single executable: it has no ${FUSE}`);
}

/** zstd's WebAssembly is read from the package's folder: within the script it is text. */
const zstdInside: Plugin = {
  name: "zstd-wasm-inside",
  transform(code, id) {
    if (!/zstd-wasm\/dist\/\w+\/index\.node\.js$/.test(id)) return null;
    const call = /readFile\(\(?[^)]*\)?\(__dirname, '\.\/zstd\.wasm'\)\)/;
    if (!call.test(code)) throw new Error(`${id}: reads zstd.wasm in a way that isn't known`);
    const wasm = fs.readFileSync(path.join(path.dirname(id), "zstd.wasm")).toString("base64");
    return code.replace(call, `Buffer.from("${wasm}", "base64")`);
  },
};

/** Licences of all that the program holds: Node's, which lies beside its binary or isn't known, and those of packages. */
function licenses(): string {
  const nodes = [path.join(path.dirname(node), "../LICENSE"), "/usr/share/doc/nodejs/copyright"];
  const found = nodes.find((file) => fs.existsSync(file));
  const texts = [
    `Node.js ${version}\n\n${found === undefined ? "Its licence: https://github.com/nodejs/node/blob/main/LICENSE" : fs.readFileSync(found, "utf8").trim()}\n`,
    ...["dist/cli/LICENSES.txt", "dist/viewer/LICENSES.txt"]
      .map((file) => path.join(root, file))
      .filter((file) => fs.existsSync(file))
      .map((file) => fs.readFileSync(file, "utf8")),
    ...packages.map((name) => `${name}\n\n${licenseOf(homeOf(name)) ?? ""}\n`),
  ];
  return joinLicenses(texts);
}

/** A program and all that it needs as one CommonJS script, the form that Node takes. */
async function scriptOf(entry: string, file: string): Promise<void> {
  const bundle = await rolldown({
    ...INPUT,
    input: entry,
    plugins: [zstdInside],
  });
  await bundle.write({
    file,
    format: "cjs",
    codeSplitting: false,
    minify: MINIFY,
  });
  await bundle.close();
}

const packages = Object.keys(manifestOf(root).dependencies);
const { version, platform, arch } =
  values.arch === undefined
    ? factsOf(node)
    : { version: process.version, platform: "linux", arch: values.arch };
checkNode(node);
/** One for another machine may not run here; what is made for it is no code of any machine then. */
const isForeign = values.arch !== undefined && values.arch !== process.arch;
const out = path.resolve(values.out ?? path.join(root, `dist-binary/guestscope-${platform}-${arch}`));
const main = path.join(work, "main.cjs");
const worker = path.join(work, "page-worker.cjs");
await scriptOf("src/cli/single-executable.ts", main);
await scriptOf("src/io/node/page-worker.ts", worker);
const viewer = path.join(root, "dist/viewer");
if (!fs.existsSync(path.join(viewer, "index.html"))) throw new Error("the viewer isn't built: npm run build");
const names = viewerFiles(viewer);
const list = path.join(work, "viewer.json");
fs.writeFileSync(list, JSON.stringify(names));
const commit = path.join(work, "COMMIT");
fs.writeFileSync(commit, commitLine() ?? "");
const blob = path.join(work, "blob");
const config = path.join(work, "sea.json");
fs.writeFileSync(
  config,
  JSON.stringify({
    main,
    output: blob,
    disableExperimentalSEAWarning: true,
    useCodeCache: !isForeign,
    assets: {
      "page-worker.js": worker,
      COMMIT: commit,
      "viewer.json": list,
      ...Object.fromEntries(names.map((name) => [`viewer/${name}`, path.join(viewer, name)])),
    },
  }),
);
execFileSync(isForeign ? process.execPath : node, ["--experimental-sea-config", config], {
  stdio: ["ignore", "ignore", "inherit"],
});
fs.mkdirSync(path.dirname(out), { recursive: true });
fs.rmSync(out, { force: true });
fs.copyFileSync(node, out);
fs.chmodSync(out, 0o755);
fs.writeFileSync(`${out}.LICENSES.txt`, licenses());
const injector = fileURLToPath(import.meta.resolve("postject/dist/cli.js"));
execFileSync(process.execPath, [injector, out, "NODE_SEA_BLOB", blob, "--sentinel-fuse", FUSE], {
  stdio: ["ignore", "ignore", "inherit"],
});
process.stdout.write(
  `${path.relative(process.cwd(), out)}: ${(fs.statSync(out).size / 2 ** 20).toFixed(1)} MiB, Node ${version}\n`,
);
