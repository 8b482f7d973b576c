import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { GuestImage } from "../../../../src/guest/image.js";
import type { QemuOptions } from "../../../../src/guest/options.js";
import { bytesSource } from "../../../../src/io/byte-source.js";
import { GuestscopeError } from "../../../../src/findings/errors.js";
import { qemuCore } from "../../../../src/qemu/core/format.js";
import { makeCore, provenCore, putAcpi, putBootParams } from "./made-core.js";

const MIB = 1 << 20;
const GIB4 = 2 ** 32;

async function open(bytes: Uint8Array, qemu: QemuOptions = {}): Promise<GuestImage> {
  const { reader } = qemuCore;
  if (reader.access !== "random") throw new Error("cores are read at any offset");
  return reader.openGuest(bytesSource(bytes, "core"), { qemu: { ...qemu, withoutDebugInfo: true } });
}

const pc = (...more: string[]): string[] => ["qemu-system-x86_64", "-vga", "none", ...more];
const proofs = ({ facts }: GuestImage): unknown => facts.more?.addressesProvenBy;
const ranges = ({ memory }: GuestImage): number[][] =>
  [...memory.ranges()].map(({ start, end }) => [start, end]);

describe("what proves the addresses of RAM", () => {
  it("ACPI tables at the end of RAM below 4 GiB; RAM shows where firmware copied itself", async () => {
    const ram = new Uint8Array(4 * MIB);
    putAcpi(ram, 4 * MIB);
    const guest = await open(makeCore(pc("-m", "4M"), [ram]));
    expect(proofs(guest)).toEqual([expect.stringMatching(/RSDP at 0xf5000 and 2 tables/)]);
    expect(ranges(guest)).toEqual([[0, 4 * MIB]]);
  });

  it("not tables elsewhere, with a wrong checksum, or beyond RAM", async () => {
    const elsewhere = new Uint8Array(16 * MIB);
    putAcpi(elsewhere, 4 * MIB);
    await expect(open(makeCore(pc("-m", "16M"), [elsewhere]))).rejects.toThrow(
      /isn't the end of RAM below 4 GiB/,
    );
    const wrong = new Uint8Array(4 * MIB);
    putAcpi(wrong, 4 * MIB);
    wrong[4 * MIB - 0x800 + 50] = 1;
    await expect(open(makeCore(pc("-m", "4M"), [wrong]))).rejects.toMatchObject({
      code: "qemu/core/unproven",
    });
  });

  it("a memory map in boot_params that has just this RAM; ROM may show below 1 MiB then", async () => {
    const ram = new Uint8Array(6 * MIB);
    putBootParams(ram, 0x90000, [
      [0, 0x9fc00],
      [MIB, 4 * MIB],
      [GIB4, GIB4 + 2 * MIB],
    ]);
    const guest = await open(makeCore(pc("-m", "6M", "-M", "pc,max-ram-below-4g=4M"), [ram]));
    expect(proofs(guest)).toEqual([expect.stringMatching(/boot_params at 0x90000 has this RAM/)]);
    const [, hidden] = [...guest.memory.ranges()];
    expect(hidden).toMatchObject({
      start: 0xc0000,
      end: 0x100000,
      presence: "absent",
      reason: { kind: "excluded" },
    });
  });

  it.each([
    ["parted elsewhere", "pc,max-ram-below-4g=3M"],
    ["not parted", "pc"],
  ])("a memory map that isn't this RAM's is said: %s", async (_what, machine) => {
    const ram = new Uint8Array(6 * MIB);
    putBootParams(ram, 0x90000, [
      [0, 0x9fc00],
      [MIB, 4 * MIB],
      [GIB4, GIB4 + 2 * MIB],
    ]);
    await expect(open(makeCore(pc("-m", "6M", "-M", machine), [ram]))).rejects.toThrow(
      /the memory map in boot_params at 0x90000 has .*isn't in/,
    );
  });

  it("mappings of one size are told apart by it, or refused", async () => {
    const [ram, other] = [new Uint8Array(4 * MIB), new Uint8Array(4 * MIB)];
    putAcpi(ram, 4 * MIB);
    const guest = await open(makeCore(pc("-m", "4M"), [other, ram]));
    expect(proofs(guest)).toHaveLength(1);
    await expect(open(makeCore(pc("-m", "4M"), [ram.slice(), ram]))).rejects.toThrow(
      /2 ways to tell them apart fit/,
    );
    const nodes = ["a", "b"].flatMap((id) => [
      "-object",
      `memory-backend-ram,id=${id},size=4M`,
      "-numa",
      `node,memdev=${id}`,
    ]);
    putAcpi(ram, 4 * MIB);
    const two = new Uint8Array(4 * MIB);
    putAcpi(two, 4 * MIB);
    await expect(open(makeCore(pc("-m", "8M", ...nodes), [two, two.slice()]))).rejects.toMatchObject({
      code: "qemu/core/unproven",
      remedy: { option: "map" },
    });
  });

  it("devices whose address isn't given have memory without one", async () => {
    const ram = new Uint8Array(4 * MIB);
    putAcpi(ram, 4 * MIB);
    const device = ["-object", "memory-backend-ram,id=d,size=2M", "-device", "pc-dimm,memdev=d"];
    const bytes = makeCore(pc("-m", "4M", ...device), [ram, new Uint8Array(2 * MIB).fill(7)]);
    const guest = await open(bytes);
    expect(guest.unplaced).toMatchObject([{ name: "d", size: 2 * MIB, reason: { kind: "no-address" } }]);
    const placed = await open(bytes, { map: [{ block: "d", address: GIB4 }] });
    expect(placed.unplaced).toBeUndefined();
    const byte = new Uint8Array(1);
    expect([await placed.memory.read(GIB4 + MIB, byte), byte[0]]).toEqual([1, 7]);
    await expect(open(bytes, { map: [{ block: "d", address: MIB }] })).rejects.toThrow(
      /another block is there/,
    );
  });

  it("programs that aren't QEMU and machines that aren't known are refused", async () => {
    const machine = open(makeCore(pc("-M", "none", "-m", "4M"), [new Uint8Array(4 * MIB)]));
    await expect(machine).rejects.toThrow(/memory map of machine 'none' is not known/);
  });

  it("damage causes no other error than ours, and no address that nothing proves", async () => {
    const whole = provenCore();
    expect(proofs(await open(whole))).toHaveLength(1);
    const headers = 64 + 56 * 3 + 200;
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.nat(headers), fc.integer({ min: whole.length - 700, max: whole.length - 1 })),
        fc.nat(255),
        async (at, value) => {
          const bytes = whole.slice();
          bytes[at] = value;
          try {
            expect(proofs(await open(bytes))).not.toEqual([]);
          } catch (error) {
            if (!(error instanceof GuestscopeError)) throw error;
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
