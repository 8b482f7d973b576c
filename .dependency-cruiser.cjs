/**
 * Which file may import which: the design's one direction, from the bytes to the programs. Type-only imports count.
 * `npm run lint:imports`.
 */

/** Folders of src/, each after those it may import from. Folders of one line are neighbours: they don't know each other. */
const LINE = [
  ["findings"],
  ["io"],
  ["binary"],
  ["elf"],
  ["dwarf"],
  ["guest"],
  ["xen", "qemu", "vmcore", "disk", "linux"],
  ["open"],
  ["cli", "viewer"],
];
const KNOWN = LINE.flat().join("|");
/** Files of src/ itself that every folder may import. */
const FOR_ALL = "version\\.ts$";

const oneDirection = LINE.flatMap((folders, place) =>
  folders.map((folder) => {
    const allowed = [...LINE.slice(0, place).flat(), folder].map((name) => `${name}/`);
    return {
      name: `direction-${folder}`,
      comment: `src/${folder} may import from ${allowed.join(", ")} and src/version.ts alone.`,
      severity: "error",
      from: { path: `^src/${folder}/` },
      to: { path: "^src/", pathNot: `^src/(${[...allowed, FOR_ALL].join("|")})` },
    };
  }),
);

/** The places that may know Node: files, descriptors, processes; their entry; and the programs. */
const KNOWS_NODE = "^src/(io/node/|cli/|open/node/|node\\.ts$)";

module.exports = {
  forbidden: [
    ...oneDirection,
    {
      name: "no-circles",
      comment: "Files that import each other in a circle can't be understood, or loaded, one by one.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "browser-safe",
      comment: "Everything but src/io/node and src/cli runs in browsers.",
      severity: "error",
      from: { path: "^(src|viewer)/", pathNot: KNOWS_NODE },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "browser-safe-indirectly",
      comment: "What imports from src/io/node needs Node too.",
      severity: "error",
      from: { path: "^(src|viewer)/", pathNot: KNOWS_NODE },
      to: { path: "^src/io/node/" },
    },
    {
      name: "known-folders-importing",
      comment: "A new folder of src/ takes its place in the line first (the head of this file).",
      severity: "error",
      from: { path: "^src/[^/]+/", pathNot: `^src/(${KNOWN})/` },
      to: {},
    },
    {
      name: "known-folders-imported",
      comment: "A new folder of src/ takes its place in the line first (the head of this file).",
      severity: "error",
      from: {},
      to: { path: "^src/[^/]+/", pathNot: `^src/(${KNOWN})/` },
    },
    {
      name: "known-folders-alone",
      comment: "A new folder of src/ takes its place in the line first (the head of this file).",
      severity: "error",
      from: { orphan: true, path: "^src/[^/]+/", pathNot: `^src/(${KNOWN})/` },
      to: {},
    },
    {
      name: "resolvable",
      comment: "An import that leads nowhere is checked by no rule.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "types", "node", "default"] },
  },
};
