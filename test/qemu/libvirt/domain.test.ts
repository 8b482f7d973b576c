import { expect, it } from "vitest";
import { parseDomain } from "../../../src/qemu/libvirt/domain.js";

const memory = (model: string, address: string, alias = ""): string =>
  `<memory model='${model}'><target><size unit='KiB'>131072</size><node>0</node></target>${alias}${address}</memory>`;

it("DIMMs and NVDIMMs: backends by alias, else by model and slot; others have no address here", () => {
  const { memoryDevices } = parseDomain(
    `<domain><devices>
      ${memory("dimm", "<address type='dimm' slot='0' base='0x100000000'/>")}
      ${memory("nvdimm", "<address type='dimm' slot='1' base='0x108000000'/>", "<alias name='nvdimm7'/>")}
      ${memory("virtio-mem", "<address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>")}
      ${memory("dimm", "<address type='dimm' slot='3' base='much'/>")}
      <memballoon model='none'/>
    </devices></domain>`,
  );
  expect(memoryDevices).toEqual([
    { id: "memdimm0", address: 0x1_0000_0000 },
    { id: "memnvdimm7", address: 0x1_0800_0000 },
  ]);
  expect(parseDomain("<domain><name>x</name></domain>")).toEqual({ name: "x" });
});
