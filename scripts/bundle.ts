import * as fs from "node:fs";
import * as path from "node:path";
import { type OutputChunk, rolldown } from "rolldown";
import { commitLine, homeOf, INPUT, joinLicenses, licenseOf, manifestOf, MINIFY, root } from "./bundling.js";

/**
 * `npm run build`, second part: the programs, with the modules they need joined into a few files.
 * Most of a start's time goes into finding and compiling files: what every command needs is one file, what the commands
 * of one folder need is another. The library stays as it was compiled, module by module.
 */
const folder = path.join(root, "dist/cli");
const LICENSES = "LICENSES.txt";

const { bin, dependencies } = manifestOf(root);
/** Files of the programs within `dist/cli`, without `.js`: the sources' names. */
const PROGRAMS = Object.values(bin).map((file) => path.relative("dist/cli", file).replace(/\.js$/, ""));
/** Every start needs it; the other packages, codecs that bring WebAssembly, are loaded when needed, as they are. */
const JOINED = "argparse";
const PACKAGES = Object.keys(dependencies).filter((name) => name !== JOINED);

/** What every command needs, and what it takes to know a file's format: one file with all that these import statically. */
const START = ["cli/command", "cli/commands", "cli/verify", "open/open", "open/formats", "version"].map(
  (name) => path.join(root, `src/${name}.ts`),
);
/** What is loaded when a format or a command is met: a file for each folder. */
const FOLDERS = ["xen", "qemu", "vmcore", "disk", "linux", "dwarf"];

/** Packages by the files of theirs that were joined in, with their licences' texts. */
function licenses(inputs: readonly string[]): string {
  const names = inputs.flatMap((file) => /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? []);
  return joinLicenses(
    [...new Set(names)].sort().map((name) => {
      const { version, license } = manifestOf(homeOf(name));
      const text = licenseOf(homeOf(name));
      return [`${name} ${version}, ${license}`, ...(text === undefined ? [] : ["", text]), ""].join("\n");
    }),
  );
}

/** Node 22 and newer keep what they compiled of a program: the second start is faster. */
const launcher = (program: string): string => `#!/usr/bin/env node
import module from "node:module";
module.enableCompileCache?.();
const { run } = await import("./${path.basename(program)}");
await run();
`;

const isPackage = (id: string): boolean => PACKAGES.some((name) => id === name || id.startsWith(`${name}/`));

const bundle = await rolldown({
  ...INPUT,
  input: Object.fromEntries(PROGRAMS.map((name) => [`${name}-program`, `src/cli/${name}.ts`])),
  external: isPackage,
});
const { output } = await bundle.write({
  dir: folder,
  format: "esm",
  minify: MINIFY,
  chunkFileNames: "part-[name]-[hash].js",
  codeSplitting: {
    groups: [
      { name: "start", test: (id) => START.includes(id), priority: 2 },
      { name: "model", test: /\/src\/(binary|elf|findings|guest|io\/(?!node\/))/, priority: 1 },
      ...FOLDERS.map((name) => ({ name, test: new RegExp(`/src/${name}/`) })),
    ],
  },
});
await bundle.close();

// beside the parts, where the module that starts it looks, but without them: each thread loads, and keeps, what it needs
const worker = await rolldown({
  ...INPUT,
  input: { "page-worker": "src/io/node/page-worker.ts" },
  external: isPackage,
});
const { output: workerOutput } = await worker.write({
  dir: folder,
  format: "esm",
  minify: MINIFY,
  chunkFileNames: "worker-[name]-[hash].js",
});
await worker.close();

for (const name of PROGRAMS) {
  const file = path.join(folder, `${name}.js`);
  fs.writeFileSync(file, launcher(`${name}-program.js`));
  fs.chmodSync(file, 0o755);
}
const commit = commitLine();
if (commit !== undefined) fs.writeFileSync(path.join(folder, "COMMIT"), commit);
const chunks = [...output, ...workerOutput].filter((file): file is OutputChunk => file.type === "chunk");
fs.writeFileSync(path.join(folder, LICENSES), licenses(chunks.flatMap(({ moduleIds }) => moduleIds)));
const written = new Set(
  [
    LICENSES,
    "COMMIT",
    ...PROGRAMS.map((name) => `${name}.js`),
    ...[...output, ...workerOutput].map(({ fileName }) => fileName),
  ].map((file) => path.basename(file)),
);
for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
  if (entry.isFile() && !written.has(entry.name)) fs.rmSync(path.join(entry.parentPath, entry.name));
}
