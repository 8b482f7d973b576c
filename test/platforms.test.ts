import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { browserCommand } from "../src/cli/view.js";
import { descriptorPosition } from "../src/io/node/files.js";
import { directoryOf, fileNameOf } from "../src/io/path-parts.js";
import { siblingNames } from "../src/vmcore/kdump/split.js";
import { scratch } from "./shared.js";

/** What depends on the system, with the system given: these tests run on any. */
describe("on Windows and macOS, as on Linux,", () => {
  const { folder, cleanup } = scratch();
  afterAll(cleanup);

  it("a path's parts are found by its own separators", () => {
    for (const [name, directory, file] of [
      ["C:\\dumps\\core.1", "C:\\dumps", "core.1"],
      ["C:/dumps\\core.1", "C:/dumps", "core.1"],
      ["\\\\server\\dumps\\core.1", "\\\\server\\dumps", "core.1"],
      ["dumps\\core.1", "dumps", "core.1"],
      ["/var/dumps/core.1", "/var/dumps", "core.1"],
      // a name may have a backslash where slashes separate
      ["/var/dumps/we\\ird", "/var/dumps", "we\\ird"],
      ["core.1", ".", "core.1"],
    ] as const)
      expect([name, directoryOf(name), fileNameOf(name)]).toEqual([name, directory, file]);
    expect(siblingNames("D:\\2026\\part1.kdump").slice(0, 2)).toEqual([
      "D:\\2026\\part0.kdump",
      "D:\\2026\\part2.kdump",
    ]);
  });

  it("the browser is opened by the system's own program, on Linux where there is a screen", () => {
    expect(browserCommand({ platform: "darwin", env: {} })).toEqual(["open"]);
    expect(browserCommand({ platform: "win32", env: {} })).toEqual(["cmd", "/c", "start", '""']);
    expect(browserCommand({ platform: "linux", env: {} })).toEqual([]);
    expect(browserCommand({ platform: "linux", env: { DISPLAY: "" } })).toEqual([]);
    expect(browserCommand({ platform: "linux", env: { WAYLAND_DISPLAY: "wayland-0" } })).toEqual([
      "xdg-open",
    ]);
    expect(browserCommand({ platform: "freebsd", env: { DISPLAY: "", WAYLAND_DISPLAY: "w" } })).toEqual([
      "xdg-open",
    ]);
  });

  it("a descriptor's position is not taken for 0 where no /proc says it", () => {
    const file = path.join(folder, "file");
    fs.writeFileSync(file, "0123456789");
    const fd = fs.openSync(file, "r");
    fs.readSync(fd, new Uint8Array(4));
    expect(descriptorPosition(fd, path.join(folder, "no-proc"))).toBeUndefined();
    if (process.platform === "linux") expect(descriptorPosition(fd)).toBe(4);
    fs.closeSync(fd);
  });
});
