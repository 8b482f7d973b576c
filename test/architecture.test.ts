import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, it } from "vitest";

/** Rooms of src/, each with those it may import from beside itself: DESIGN's one direction. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  io: [],
  binary: ["io"],
  findings: ["io", "binary"],
  elf: ["io", "binary", "findings"],
  dwarf: ["io", "binary", "findings", "elf"],
  guest: ["io", "binary", "findings", "elf", "dwarf"],
  xen: ["io", "binary", "findings", "elf", "dwarf", "guest"],
  qemu: ["io", "binary", "findings", "elf", "dwarf", "guest"],
  vmcore: ["io", "binary", "findings", "elf", "dwarf", "guest"],
  linux: ["io", "binary", "findings", "elf", "dwarf", "guest"],
  open: ["io", "binary", "findings", "elf", "dwarf", "guest", "xen", "qemu", "vmcore", "linux"],
  cli: ["io", "binary", "findings", "elf", "dwarf", "guest", "xen", "qemu", "vmcore", "linux", "open"],
};

const root = path.resolve(import.meta.dirname, "../src");

function* sources(folder: string): Iterable<string> {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* sources(full);
    else if (entry.name.endsWith(".ts")) yield full;
  }
}

/** Every import of a file: specifier and, for relative ones, the path from src/. */
function imports(file: string): { specifier: string; target: string | undefined }[] {
  const text = fs.readFileSync(file, "utf8");
  const found = text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g);
  return Array.from(found, ([, specifier = ""]) => ({
    specifier,
    target: specifier.startsWith(".")
      ? path.relative(root, path.resolve(path.dirname(file), specifier))
      : undefined,
  }));
}

const files = [...sources(root)].map((file) => ({ file: path.relative(root, file), imports: imports(file) }));

describe("architecture", () => {
  it("reads the tree", () => {
    expect(files.length).toBeGreaterThan(10);
    expect(files.flatMap((f) => f.imports).length).toBeGreaterThan(20);
  });

  it("imports point one way only", () => {
    const wrong = files.flatMap(({ file, imports: all }) => {
      const room = file.split(path.sep)[0] ?? "";
      const allowed = ALLOWED[room];
      if (allowed === undefined) return [];
      return all.flatMap(({ target }) => {
        const to = target?.split(path.sep)[0];
        const fine = to === undefined || to === room || allowed.includes(to) || target === "version.js";
        return fine ? [] : [`${file} -> ${target}`];
      });
    });
    expect(wrong).toEqual([]);
  });

  it("every room is known", () => {
    const rooms = new Set(files.map(({ file }) => file.split(path.sep)[0] ?? ""));
    expect([...rooms].filter((room) => !room.endsWith(".ts") && !(room in ALLOWED))).toEqual([]);
  });

  it("only io/node and cli know Node", () => {
    const wrong = files
      .filter(({ file }) => !file.startsWith("io/node/") && !file.startsWith("cli/"))
      .flatMap(({ file, imports: all }) =>
        all
          .filter(
            ({ specifier, target }) =>
              specifier.startsWith("node:") || target?.startsWith(`io${path.sep}node`),
          )
          .map(({ specifier }) => `${file} imports ${specifier}`),
      );
    expect(wrong).toEqual([]);
  });
});
