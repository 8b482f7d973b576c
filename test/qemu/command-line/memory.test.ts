import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { memoryAskedFor } from "../../../src/qemu/command-line/memory.js";
import { optionsOf, settingsOf, sizeOf } from "../../../src/qemu/command-line/options.js";

const asked = (line: string, emulator = "x86_64"): ReturnType<typeof memoryAskedFor> =>
  memoryAskedFor(["qemu", ...line.split(/\s+/)], emulator);
const GIB = 2 ** 30;

describe("options of QEMU's command line", () => {
  it("take a value or not, with one dash or two; a disk image has none", () => {
    expect(optionsOf(["qemu", "-nographic", "--m", "2G", "disk.img", "-append", "-m 4G", "-S"])).toEqual([
      { name: "nographic", value: "" },
      { name: "m", value: "2G" },
      { name: "append", value: "-m 4G" },
      { name: "S", value: "" },
    ]);
  });

  it("have settings as text or JSON", () => {
    expect([...settingsOf("pc,accel=tcg,usb,x=a,,b", "type")]).toEqual([
      ["type", "pc"],
      ["accel", "tcg"],
      ["usb", "on"],
      ["x", "a,b"],
    ]);
    const json =
      '{"qom-type":"memory-backend-ram","id":"pc.ram","size":2147483648,"share":true,"host-nodes":[0]}';
    expect(Object.fromEntries(settingsOf(json, "qom-type"))).toEqual({
      "qom-type": "memory-backend-ram",
      id: "pc.ram",
      size: "2147483648",
      share: "on",
    });
  });

  it.each([
    ["2G", 1, 2 * GIB],
    ["512", 1 << 20, 512 << 20],
    ["1.5g", 1 << 20, 1.5 * GIB],
    ["0x1000", 1, 4096],
    ["8M", 1, 8 << 20],
    ["64KiB", 1, 65536],
    ["large", 1, undefined],
    ["-1", 1, undefined],
    ["", 1, undefined],
    ["99999999E", 1, undefined],
  ])("size %s in units of %i", (text, unit, bytes) => {
    expect(sizeOf(text, unit)).toBe(bytes);
  });

  it("of any text are read without an error", () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { maxLength: 12 }), (args) => {
        memoryAskedFor(args, "x86_64");
      }),
    );
    fc.assert(
      fc.property(fc.constantFrom("machine", "object", "numa", "device", "m"), fc.string(), (name, value) => {
        memoryAskedFor(
          ["q", `-${name}`, value, `-${name}`, `{${value}`, `-${name}`, JSON.stringify([value])],
          "x86_64",
        );
      }),
    );
  });
});

describe("memory that a command line asks for", () => {
  it("is 128 MiB of a pc unless said otherwise", () => {
    expect(asked("-nographic")).toMatchObject({
      type: "pc",
      size: 128 << 20,
      below: 128 << 20,
      hasVga: true,
      dumpGuestCore: true,
      blocks: [{ name: "pc.ram", size: 128 << 20, isShared: false }],
    });
  });

  it.each([
    ["-M q35 -m 4G -nodefaults", false],
    ["-M q35 -m 4G -nodefaults -device virtio-vga", true],
    ["-M q35 -m 4G -vga none", false],
    ["-M microvm -m 4G", false],
    ['-M pc -nodefaults -device {"driver":"VGA","id":"video0"}', true],
    ["-M pc -nodefaults -device bochs-display", false],
  ])("%s: a display's window at a0000 is there: %s", (line, has) => {
    expect(asked(line).hasVga).toBe(has);
  });

  // by QEMU's flat views of such machines
  it.each([
    ["-M pc -m 3G", 3 * GIB],
    ["-M pc -m 3.5G", 3 * GIB],
    ["-M pc -m 5G", 3 * GIB],
    ["-M pc,max-ram-below-4g=2M -m 12M", 2 << 20],
    ["-M pc,max-ram-below-4g=4G -m 3.75G", 3.75 * GIB],
    ["-M pc,max-ram-below-4g=1G -m 5G", GIB],
    ["-M q35 -m 2G", 2 * GIB],
    ["-M q35 -m 2.5G", 2.5 * GIB],
    ["-M q35 -m 2.75G", 2 * GIB],
    ["-M pc-q35-7.2 -m 5G", 2 * GIB],
    ["-M q35,max-ram-below-4g=80M -m 128M", 80 << 20],
    ["-M q35,max-ram-below-4g=4G -m 5G", 2 * GIB],
    ["-M microvm -m 5G", 3 * GIB],
  ])("%s: parted at 4 GiB", (line, below) => {
    expect(asked(line).below).toBe(below);
  });

  it("is of a backend, as libvirt writes it", () => {
    const found = asked(
      '-machine pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram -accel kvm -m size=2097152k -object {"qom-type":"memory-backend-ram","id":"pc.ram","size":2147483648}',
    );
    expect(found).toMatchObject({
      type: "pc-q35-7.2",
      accelerator: "kvm",
      dumpGuestCore: false,
      blocks: [{ name: "pc.ram", size: 2 * GIB, isShared: false, isLeftOut: false }],
    });
  });

  it("is of a backend for each node, in the order of nodes", () => {
    const found = asked(
      `-m 3G -object memory-backend-memfd,id=b,size=1G -object memory-backend-file,id=a,size=1G,mem-path=/srv/a
       -object memory-backend-ram,id=c,size=1G,dump=off -numa node,nodeid=2,memdev=a -numa node,nodeid=0,memdev=b -numa node,memdev=c,nodeid=1`,
    );
    expect(found.blocks).toEqual([
      { name: "b", size: GIB, isShared: true, isLeftOut: false },
      { name: "c", size: GIB, isShared: false, isLeftOut: true },
      { name: "a", size: GIB, path: "/srv/a", isShared: true, isLeftOut: false },
    ]);
  });

  it("and of devices, at an address or not", () => {
    const found = asked(
      `-m 1G,slots=2,maxmem=8G -object memory-backend-ram,id=d0,size=1G -object memory-backend-ram,id=v0,size=2G
       -device pc-dimm,id=p,memdev=d0,addr=0x140000000 -device virtio-mem-pci,memdev=v0 -device e1000`,
    );
    expect(found.devices).toMatchObject([
      { driver: "pc-dimm", address: 5 * GIB, block: { name: "d0" } },
      { driver: "virtio-mem-pci", block: { name: "v0" } },
    ]);
    expect(found.blocks.map(({ name }) => name)).toEqual(["pc.ram"]);
  });

  it("of a machine whose memory map isn't known has no split", () => {
    expect(asked("-M none")).toMatchObject({ machine: undefined, below: undefined });
    expect(asked("-M virt", "aarch64").machine?.kind).toBe("virt");
    expect(asked("-M virt", "riscv64").machine?.kind).toBe("riscv-virt");
  });

  it("says what can't be followed", () => {
    expect(asked("-readconfig q.cfg -set machine.x=y -set device.net.z=1 -set drive.d.x=1").unclear).toEqual([
      "options in q.cfg",
      "-set machine.x=y",
      "-set device.net.z=1",
    ]);
  });
});
