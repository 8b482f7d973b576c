import * as fs from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../src/guest/image.js";
import { type Kernel, openKernel } from "../../src/linux/kernel.js";
import { moduleTypes, structOfModules } from "../../src/linux/module-types.js";
import type { KernelType } from "../../src/linux/types.js";
import { runCli } from "../shared.js";
import { changed, fixturePath, openFixture } from "./fixture.js";

interface Layout {
  readonly size: number;
  readonly members: readonly (readonly [name: string, bitOffset: number, bitSize: number])[];
}

/** What drgn said with the debug information of module 8021q. */
const TRUTH = JSON.parse(fs.readFileSync(fixturePath("panic-6.1.8021q.json"), "utf8")) as Record<
  string,
  Layout
>;

const layoutOf = (type: KernelType | undefined): Layout | undefined =>
  type === undefined
    ? undefined
    : {
        size: type.size,
        members: type.members().map(({ name, bitOffset, bitSize }) => [name, bitOffset, bitSize ?? 0]),
      };

describe("types of a module", () => {
  let guest: GuestImage;
  let kernel: Kernel;

  beforeAll(async () => {
    guest = await openFixture("panic-6.1");
    kernel = await openKernel(guest);
  });
  afterAll(async () => guest.close?.());

  it("are what its debug information says", async () => {
    const types = await moduleTypes(kernel, "8021q");
    expect(Object.keys(TRUTH).length).toBe(2);
    for (const [name, layout] of Object.entries(TRUTH)) {
      expect(kernel.hasStruct(name)).toBe(false);
      expect(layoutOf(types?.find("struct", name))).toEqual(layout);
      const found = await structOfModules(kernel, name);
      expect(found?.module).toBe("8021q");
      expect(layoutOf(found?.type)).toEqual(layout);
    }
  });

  it("are none for a module that is not loaded, and those of the kernel itself can be used by them", async () => {
    expect(await moduleTypes(kernel, "no_such_module")).toBeUndefined();
    const types = await moduleTypes(kernel, "8021q");
    expect(types?.find("struct", "task_struct")?.size).toBe(kernel.struct("task_struct").size);
  });

  it("are shown by guestscope struct with the module's name", () => {
    const { status, stdout } = runCli(["struct", fixturePath("panic-6.1.elf.xz"), "vlan_net"]);
    expect(status).toBe(0);
    expect(stdout).toContain(`/* ${TRUTH.vlan_net?.size} bytes */\n/* of module 8021q */\n`);
  });

  it("that are damaged are noted and left out", async () => {
    let isDamaged = false;
    const other = await openKernel(
      changed(guest, (_, bytes) => {
        // the magic number of BTF
        if (!isDamaged) return;
        for (let i = 0; i + 2 < bytes.length; i += 1)
          if (bytes[i] === 0x9f && bytes[i + 1] === 0xeb && bytes[i + 2] === 1) bytes[i] = 0;
      }),
    );
    isDamaged = true;
    expect(await structOfModules(other, "vlan_net")).toBeUndefined();
    expect(other.troubles.map(({ message }) => message).join(" ")).toContain(
      "types of a module are left out",
    );
  });
});
