import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest, verify } from "../../../src/open/open.js";
import { readPages, wrongPages } from "../migration/pages.js";
import { saveHeader } from "../../../src/qemu/libvirt/layout.js";
import { fixtures, runCli, scratch } from "../../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const HEADER = 92;
const XML = `<domain type='qemu' id='1'>
  <name>tiny</name>
  <uuid>7d1c2f0e-5a0b-4c57-9a44-0123456789ab</uuid>
  <memory unit='KiB'>8192</memory>
  <vcpu placement='static'>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
  </os>
</domain>
`;

/** A save as libvirt writes it, of a stream that isn't compressed. */
function plainSave(): Buffer {
  const stream = zlib.gunzipSync(
    fs.readFileSync(path.join(fixtures, "qemu-migration/tiny-compress.qevm.gz")),
  );
  const data = Buffer.alloc(XML.length + 1 + (64 << 10));
  data.write(`${XML}\0<cookie>\n</cookie>\n`, "latin1");
  const header = { version: 2, dataLength: data.length, wasRunning: 0, compressed: 0 };
  const unused = Array.from({ length: 14 }, () => 0);
  const more = { magic: "LibvirtQemudSave", cookieOffset: XML.length + 1, unused };
  return Buffer.concat([saveHeader.encode({ ...header, ...more }, "little"), data, stream]);
}

const compressedSave = (): Buffer =>
  fs.readFileSync(path.join(fixtures, "libvirt-save", "nodes-and-dimm.save"));

const fileOf = (name: string, bytes: Uint8Array): string => {
  const file = path.join(folder, name);
  fs.writeFileSync(file, bytes);
  return file;
};

describe.each([
  ["plain", plainSave()],
  ["compressed", compressedSave()],
])("a %s libvirt save whose mark and XML are damaged", (name, bytes) => {
  const damaged = Buffer.from(bytes).fill(0xa5, 0, 20);
  damaged.fill(0xa5, HEADER + 30, HEADER + 90);
  const file = fileOf(`${name}.save`, damaged);

  it("is verified, mapped and extracted", async () => {
    const { status, stdout } = runCli(["verify", "--map", file]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/libvirt save file of a QEMU guest whose first bytes are damaged/);
    expect(stdout).toMatch(/^ +0x0 +20 +lost +libvirt's header/m);
    expect(stdout).toMatch(/^ +0x7a +60 +lost +libvirt's header/m);
    expect(stdout).toMatch(/damaged head: the mark of a finished save is not known/);
    expect(stdout).toMatch(/damaged head: the machine type is pc\S*, by what is left of the XML/);

    const out = path.join(folder, "out.elf");
    const result = runCli(["extract", "--force", "--partial", "--json", file, out]);
    expect(result.status, result.stderr).toBe(0);
    const { rescue } = JSON.parse(result.stdout);
    expect(rescue.lost).toMatchObject([
      { start: 0, end: 20 },
      { start: HEADER + 30, end: HEADER + 90 },
    ]);
    expect(rescue.head).toContainEqual({ fact: "mark of a finished save" });
    const [guest, before] = await Promise.all(
      [bytesSource(fs.readFileSync(out), "out.elf"), bytesSource(bytes, "whole")].map((input) =>
        openGuest(input, { findKernel: false }),
      ),
    );
    if (guest === undefined || before === undefined) throw new Error("no guest");
    const pages = await readPages(before);
    const found = await readPages(guest);
    expect(wrongPages(found, pages)).toEqual([]);
    expect(found.size).toBe(pages.size);
    expect(runCli(["extract", file, path.join(folder, "no.elf")]).stderr).toMatch(/--partial/);
  });
});

it("damage that reading goes over is reported", async () => {
  const bytes = plainSave();
  expect((await verify(bytesSource(bytes, "save"))).report.findings).toEqual([]);
  // a bit of the place of the cookie, which the end of the XML says again
  bytes.writeUInt8((bytes[33] ?? 0) ^ 4, 33);
  const { findings } = (await verify(bytesSource(bytes, "save"))).report;
  expect(findings).toMatchObject([{ code: "libvirt-save/damaged-head", offset: 32 }]);
});
