import { afterAll, afterEach, describe, expect, it } from "vitest";
import { openFile } from "../../../src/io/node/files.js";
import { qemuMigration } from "../../../src/qemu/migration/format.js";
import { hasProgram, scratch, skipUnless } from "../../shared.js";
import { Emulator } from "./emulator.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

/** How long the firmware runs: it has used most registers then. */
const RUN_MS = 1500;

type Registers = Readonly<Record<string, bigint>>;

/** Values that QEMU prints as names and hexadecimal digits, by our names of them. */
function printed(text: string, pattern: RegExp, nameOf: (name: string) => string): Registers {
  return Object.fromEntries(
    [...text.matchAll(pattern)].map(([, name = "", digits = ""]) => [nameOf(name), BigInt(`0x${digits}`)]),
  );
}

/** Four registers to a line, the first one's number in front. */
function ppc64Printed(text: string): Registers {
  const rows = [...text.matchAll(/^GPR(\d\d) (.*)$/gm)].flatMap(([, first, values = ""]) =>
    values
      .trim()
      .split(/ +/)
      .map((digits, i) => [`r${Number(first) + i}`, BigInt(`0x${digits}`)] as const),
  );
  const others = printed(text, /\b(NIP|LR|CTR|XER|MSR|CR) +([0-9a-f]{8,16})\b/g, (name) =>
    name.toLowerCase(),
  );
  return { ...Object.fromEntries(rows), ...others };
}

const CASES = [
  {
    arch: "riscv64",
    program: "qemu-system-riscv64",
    args: ["-M", "virt", "-m", "32", "-smp", "2"],
    count: 33 + 10,
    read: (text: string) => printed(text, /^ (pc|m\w+|s\w+) +([0-9a-f]{16})$|(?!)/gm, (name) => name),
    general: (text: string) => printed(text, /\b(x\d+)\/\w+ +([0-9a-f]{16})\b/g, (name) => name),
  },
  {
    arch: "s390x",
    program: "qemu-system-s390x",
    // without a disk its firmware gives up
    args: ["-M", "s390-ccw-virtio", "-m", "32", "-smp", "2", "-action", "panic=pause,shutdown=pause"],
    count: 2 + 32,
    read: (text: string) => printed(text, /\b(mask|addr) ([0-9a-f]{16})\b/g, (name) => `psw_${name}`),
    general: (text: string) =>
      printed(
        text,
        /\b([RC]\d\d)=([0-9a-f]{16})\b/g,
        (name) => `${name[0]?.toLowerCase()}${Number(name.slice(1))}`,
      ),
  },
  {
    arch: "ppc64",
    program: "qemu-system-ppc64",
    args: ["-M", "pseries", "-m", "256", "-smp", "2"],
    count: 38,
    read: ppc64Printed,
    general: () => ({}),
  },
] as const;

describe("registers of a stream are those that QEMU printed of the stopped guest", () => {
  let emulator: Emulator | undefined;
  afterEach(async () => emulator?.end());

  it.each(CASES)("$arch", async ({ arch, program, args, count, read, general }) => {
    if (skipUnless(hasProgram(program), program)) return;
    emulator = await Emulator.start(program, args);
    await new Promise((resolve) => setTimeout(resolve, RUN_MS));
    await emulator.execute("stop");
    const text = await emulator.monitor("info registers -a");
    const { stream } = await emulator.save(folder);
    const guest = await qemuMigration.reader.openGuest(openFile(stream), {});
    expect(guest.arch.name).toBe(arch);
    const processors = text.split(/^CPU#\d+$/m).slice(1);
    expect(processors.length).toBe(2);
    let nonzero = 0;
    for (const [i, { registers }] of guest.vcpus.entries()) {
      if (registers?.kind !== "other") throw new Error("no registers");
      const shown = { ...read(processors[i] ?? ""), ...general(processors[i] ?? "") };
      const known = Object.entries(shown).filter(([name]) => name in registers.named);
      expect(known.length).toBeGreaterThanOrEqual(count);
      expect(Object.fromEntries(known.map(([name]) => [name, registers.named[name]]))).toEqual(
        Object.fromEntries(known),
      );
      nonzero += known.filter(([, value]) => value !== 0n).length;
    }
    expect(nonzero).toBeGreaterThan(10);
    await guest.close?.();
  });
});
