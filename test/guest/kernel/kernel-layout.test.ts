import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../src/guest/image.js";
import { extractGuest } from "../../../src/guest/extract.js";
import type { WriteReport } from "../../../src/guest/output-format.js";
import { fitsMemory } from "../../../src/guest/kernel/kernel-layout.js";
import { openFile } from "../../../src/io/node/files.js";
import { openGuest } from "../../../src/open/open.js";
import { gunzipText, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

const noData = skipUnless(hasShared, "shared/data");
const { folder, cleanup } = scratch();
afterAll(cleanup);

interface Task {
  readonly comm: string;
  /** Address of its task_struct, in the direct map. */
  readonly task: string;
}

/** Bytes of a task_struct in which its name is looked for. */
const TASK = 8192;

/** Tasks whose names stand where the direct map has their task_structs, of how many. */
async function tasksFound(guest: GuestImage, directMap: bigint, tasks: readonly Task[]): Promise<number[]> {
  let found = 0;
  for (const { comm, task } of tasks) {
    const bytes = Buffer.alloc(TASK);
    await guest.memory.read(Number(BigInt(`0x${task}`) - directMap), bytes);
    if (bytes.includes(`${comm}\0`)) found += 1;
  }
  return [found, tasks.length];
}

function load(folderOf: string, name: string, tasks: string): Promise<[GuestImage, readonly Task[]]> {
  const file = unzstd(path.join(sharedData, folderOf, `${name}.zst`), folder);
  const known: unknown = JSON.parse(gunzipText(path.join(sharedData, folderOf, tasks)));
  const list = Array.isArray(known) ? known : (known as { tasks: Task[] }).tasks;
  return openGuest(openFile(file)).then((guest) => [guest, list as Task[]]);
}

describe("the direct map of a kernel", () => {
  it.skipIf(noData).each([
    ["x86_64, four levels, HVM", "xen-v3", "hvmlinux.save", "hvmlinux.tasks.json.gz"],
    ["x86_64, four levels, PV", "xen420", "pvl.save", "pvl.tasks.json.gz"],
    ["x86_64, five levels", "qemu11/linux-q35-la57", "stream.qevm", "tasks.json.gz"],
  ])("has the tasks where the kernel says: %s", async (_, from, name, tasks) => {
    const [guest, known] = await load(from, name, tasks);
    const { image = [], directMap = 0n } = guest.facts.kernelLayout ?? {};
    expect(image.length).toBeGreaterThan(0);
    expect(directMap % 2n ** 30n).toBe(0n);
    const [found, all] = await tasksFound(guest, directMap, known);
    expect(all).toBeGreaterThan(40);
    expect(found).toBe(all);
    await guest.close?.();
  });

  it.skipIf(noData)("an aarch64 kernel's image lies at kimage_voffset", async () => {
    const file = unzstd(path.join(sharedData, "field/aarch64-linux.elf.zst"), folder);
    const guest = await openGuest(openFile(file));
    expect(guest.facts.kernelLayout?.image).toEqual([
      { va: 0xffffd200c6010000n, gpa: 0x40010000, length: 0x40000 },
    ]);
  });
});

describe("what the vCPUs point at", () => {
  it.skipIf(noData).each([
    ["a Xen save", "xen-v3", "hvmlinux.save"],
    ["a QEMU stream", "qemu11/linux-q35-la57", "stream.qevm"],
  ])("is found without a look at all of the memory: %s", async (_, from, name) => {
    const file = unzstd(path.join(sharedData, from, `${name}.zst`), folder);
    const [quick, thorough] = await Promise.all([
      openGuest(openFile(file), { findKernel: false }),
      openGuest(openFile(file)),
    ]);
    expect(quick.facts.vmcoreInfo?.gpa).toBeGreaterThan(0);
    expect(quick.facts.vmcoreInfo?.text).toBe(thorough.facts.vmcoreInfo?.text);
    expect(quick.facts.kernelLayout).toEqual(thorough.facts.kernelLayout);
    await Promise.all([quick.close?.(), thorough.close?.()]);
  });
});

describe("the layout among a guest's facts", () => {
  it.skipIf(noData)(
    "goes with the VMCOREINFO that is chosen, and is found when the guest is written",
    async () => {
      const file = unzstd(path.join(sharedData, "xen-v3", "hvmlinux.save.zst"), folder);
      const [guest, none] = await Promise.all([
        openGuest(openFile(file)),
        openGuest(openFile(file), { vmcoreInfo: "none" }),
      ]);
      expect(none.facts.kernelLayout).toBeUndefined();
      const { kernelLayout: known, ...facts } = guest.facts;
      const nothing = (): undefined => undefined;
      const sink = { name: "", write: async () => undefined, commit: nothing, abandon: nothing };
      const write = async ({ facts: written }: GuestImage): Promise<WriteReport> => {
        expect(written.kernelLayout).toEqual(known);
        return { present: 1, zero: 0, absent: 0, missing: [], size: 0 };
      };
      const writer = { id: "raw", title: "", needsRandomAccess: false, write } as const;
      const { written } = await extractGuest({ ...guest, facts }, writer, () => sink, { partial: true });
      expect(written).toBe(true);
    },
  );
});

describe("VMCOREINFO that a file brings", () => {
  it.skipIf(noData)("gives way to the copy in memory where it doesn't fit the kernel", async () => {
    const base = unzstd(path.join(sharedData, "kdump/linux.elf.zst"), folder);
    const packed = path.join(sharedData, "field/wrong-vmcoreinfo.elf.patch.zst");
    const [right, wrong] = await Promise.all([
      openGuest(openFile(base)),
      openGuest(openFile(unzstd(packed, folder, { patchFrom: base }))),
    ]);
    expect(wrong.facts.vmcoreInfo?.text).toBe(right.facts.vmcoreInfo?.text);
    expect(right.warnings).toEqual([]);
    expect(wrong.warnings.join("\n")).toMatch(/doesn't fit the kernel in memory: the copy in memory at 0x/);
    const { memory, arch, facts } = right;
    const moved = (_: string, base: string): string => `phys_base)=${Number(base) + 4096}`;
    const other = (facts.vmcoreInfo?.text ?? "").replace(/phys_base\)=(.*)/, moved);
    expect(await fitsMemory(memory, other, arch)).toBe(false);
    expect(await fitsMemory(memory, "OSRELEASE=1\n", arch)).toBeUndefined();
  });
});
