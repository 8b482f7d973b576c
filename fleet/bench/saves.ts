import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";

const FIXTURES = path.resolve(import.meta.dirname, "../../test/fixtures/xen-legacy");

/** Small saves of every kind there is a fixture of: legacy Xen streams, most of them sound. */
export function fixtureSaves(): { name: string; bytes: Buffer }[] {
  return fs
    .readdirSync(FIXTURES)
    .filter((name) => name.endsWith(".legacy.gz"))
    .sort()
    .map((name) => ({
      name: name.replace(/\.legacy\.gz$/, ""),
      bytes: gunzipSync(fs.readFileSync(path.join(FIXTURES, name))),
    }));
}

/**
 * Puts `count` small saves into a folder, as links to a few files, and returns their paths.
 * @param largest bytes; larger fixtures are left out
 */
export function writeSaves(folder: string, count: number, largest = Number.POSITIVE_INFINITY): string[] {
  const kinds = fixtureSaves().filter(({ bytes }) => bytes.length <= largest);
  const originals = path.join(folder, ".originals");
  fs.mkdirSync(originals, { recursive: true });
  for (const { name, bytes } of kinds) fs.writeFileSync(path.join(originals, name), bytes);
  return Array.from({ length: count }, (_, i) => {
    const { name } = kinds[i % kinds.length] ?? { name: "none" };
    const file = path.join(folder, `${String(i).padStart(5, "0")}-${name}.save`);
    fs.linkSync(path.join(originals, name), file);
    return file;
  });
}
