import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../src/io/byte-source.js";
import { openFile } from "../../src/io/node/files.js";
import type { EmulatorInspection } from "../../src/open/emulators.js";
import { inspect } from "../../src/open/open.js";
import { inspectStream } from "../../src/qemu/migration/inspect.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const be32 = (value: number): number[] => [
  value >>> 24,
  (value >> 16) & 255,
  (value >> 8) & 255,
  value & 255,
];
const section = (id: number, name: string, data: readonly number[]): number[] => [
  4,
  ...be32(id),
  name.length,
  ...Array.from(name, (c) => c.charCodeAt(0)),
  ...be32(0),
  ...be32(1),
  ...data,
];

describe("QEMU's state without footers or description", () => {
  const blob = (...parts: number[][]): Uint8Array =>
    Uint8Array.from([...Array.from("QEVM", (c) => c.charCodeAt(0)), ...be32(3), ...parts.flat(), 0]);

  it("is cut into its sections where heads stand", async () => {
    // the data hold the byte that begins a section, and a head with a number of the past
    const tricky = [4, 4, 0, 4, ...section(0, "past", [])];
    const found = await inspectStream(
      bytesSource(blob(section(0, "timer", tricky), section(3, "cpu", [1, 2, 3]), section(4, "port92", [0]))),
    );
    expect(found.details.sections.map(({ name, size }) => [name, size])).toEqual([
      ["timer", tricky.length],
      ["cpu", 3],
      ["port92", 1],
    ]);
    expect(found.damage).toEqual([]);
  });

  it("that breaks off is damaged", async () => {
    const whole = blob(section(0, "timer", [1, 1, 1]));
    const found = await inspectStream(bytesSource(whole.subarray(0, -1)));
    expect(found.damage.length).toBe(1);
  });
});

const lacking = skipUnless(hasShared && hasProgram("zstd"), "../shared/data with zstd");

describe.skipIf(lacking)("emulators of real Xen saves", () => {
  it.each([
    ["hvm64", 22],
    ["pvh64", 0],
  ] as const)("%s: %d sections of QEMU's devices", async (name, sections) => {
    const file = openFile(unzstd(path.join(sharedData, `xen-v3/${name}.save.zst`), folder));
    const document = (await inspect(file)) as unknown as {
      details: { emulators: EmulatorInspection[] };
    };
    const names = document.details.emulators.flatMap(
      ({ state }) => state?.details.sections.map((each) => each.name) ?? [],
    );
    expect(names.length).toBe(sections);
    if (sections > 0)
      expect(names).toEqual(
        expect.arrayContaining(["cpu", "apic", "hpet", "i2c_bus", "0000:00:00.0/I440FX"]),
      );
    expect(document.details.emulators.flatMap(({ state }) => state?.damage ?? [])).toEqual([]);
    file.close();
  });
});
