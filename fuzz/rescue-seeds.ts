import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { viewOf } from "../src/binary/layout.js";
import { StrictDiagnostics } from "../src/findings/diagnostics.js";
import { bytesSource } from "../src/io/byte-source.js";
import { openGuest } from "../src/open/open.js";
import { OUTPUTS } from "../src/open/outputs.js";
import { LIBXC_RECORD } from "../src/xen/libxc/layout.js";
import { XenStream } from "../src/xen/stream/read.js";
import { sharedData } from "../test/shared.js";
import { MemoryFile } from "../test/vmcore/model.js";
import {
  avmls,
  fixture,
  type Inputs,
  legacyStreams,
  libvirtSaves,
  qemuStreams,
  xenStreams,
} from "./seeds.js";

/*
 * Inputs that are damaged and read on: real ones of every format, or what the writers make of real ones.
 */

function unpacked(...name: readonly string[]): Uint8Array | undefined {
  const file = path.join(sharedData, ...name);
  if (!fs.existsSync(file)) return undefined;
  return Uint8Array.from(execFileSync("zstd", ["-q", "-d", "-c", "--long=27", file], { maxBuffer: 1 << 28 }));
}

const machine = (name: string): Uint8Array => fixture("vmcore", "machines", `${name}.gz`);

/** A live stream without its batches of no contents, and with two of its passes: it is read in no time. */
async function shortened(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new XenStream(bytesSource(bytes), new StrictDiagnostics("live"));
  const parts: Uint8Array[] = [];
  let at = 0;
  let last = -1;
  let pass = 0;
  for await (const item of stream.items()) {
    if (item.kind !== "record" || item.type !== LIBXC_RECORD.PAGE_DATA || item.layer !== "libxc") continue;
    const view = viewOf(bytes);
    const first = view.getUint32(item.bodyOffset + 8, true);
    if (first <= last) pass += 1;
    last = first;
    const isKept = first < 2048 && (pass < 2 || pass === 5);
    parts.push(bytes.subarray(at, isKept ? item.bodyOffset : item.offset));
    at = isKept ? item.bodyOffset : item.bodyOffset + item.length + (-item.length & 7);
  }
  return Uint8Array.from(Buffer.concat([...parts, bytes.subarray(at)]));
}

/** What another format makes of a guest. */
async function written(id: string, bytes: Uint8Array): Promise<Uint8Array> {
  const guest = await openGuest(bytesSource(bytes));
  const output = OUTPUTS.find((one) => one.id === id);
  const file = new MemoryFile();
  await (await output?.load({}))?.write(guest, file, {});
  return file.bytes();
}

/** Inputs but one, which doesn't open as it is. */
function without(inputs: Inputs, name: string): Inputs {
  return Object.fromEntries(Object.entries(inputs).filter(([one]) => one !== name));
}

const present = (inputs: Record<string, Uint8Array | undefined>): Inputs =>
  Object.fromEntries(
    Object.entries(inputs).flatMap(([name, bytes]) => (bytes === undefined ? [] : [[name, bytes]])),
  );

/** Vmcores and cores: of every architecture, width and byte order, in files of every writer. */
const dumps = (): Record<string, Uint8Array | undefined> => ({
  "elf-aarch64": machine("aarch64.elf"),
  "elf-arm": machine("arm.elf"),
  "elf-i386": machine("i386.elf"),
  "elf-ppc64": machine("ppc64.elf"),
  "elf-s390x": machine("s390x.elf"),
  "elf-x86_64": unpacked("qemu-core", "tiny-pc", "ref.vmcore.zst"),
  "elf-kcore": unpacked("field", "kcore-new.elf.zst"),
  "elf-flattened": unpacked("field", "elf-flattened.flat.zst"),
  "xen-core-hvm": unpacked("xen-v3", "hvm64.core.zst"),
  "xen-core-pv": unpacked("xen-v3", "pv64.core.zst"),
  "kdump-s390x-flattened": machine("s390x.flat"),
});

/** Inputs for one damage anywhere. */
export async function bodies(): Promise<Inputs> {
  const live = unpacked("xen-v3", "hvm64-live.stream.zst");
  const tiny = unpacked("qemu-migration", "tiny-pc2", "stream.qevm.zst");
  return present({
    "legacy-pv64-live": fixture("xen-legacy", "pv64-live.legacy.gz"),
    "legacy-hvm64-live": fixture("xen-legacy", "hvm64-live.legacy.gz"),
    "legacy-hvm64-params": fixture("xen-legacy", "hvm64-params.legacy.gz"),
    "xen-pv64": unpacked("xen-v3", "pv64.save.zst"),
    "xen-live": live && (await shortened(live)),
    "qemu-pc2": tiny,
    "qemu-numa": unpacked("qemu-migration", "tiny-numa", "stream.qevm.zst"),
    "qemu-live": unpacked("qemu-migration", "tiny-live", "stream.qevm.zst"),
    "kdump-flattened": fixture("vmcore", "tiny-split.lzo.flat.gz"),
    kdump: tiny && (await written("kdump", tiny)),
    lime: tiny && (await written("lime", tiny)),
    ...dumps(),
  });
}

/** Inputs for damage in their heads: small ones too, of every version and layer. */
export async function headed(): Promise<Inputs> {
  const small = unpacked("qemu-migration", "tiny-compress", "stream.qevm.zst");
  const named = (prefix: string, inputs: Inputs): Inputs =>
    Object.fromEntries(Object.entries(inputs).map(([name, bytes]) => [`${prefix}-${name}`, bytes]));
  return present({
    ...named("xen", xenStreams()),
    ...named("legacy", legacyStreams()),
    ...named("qemu", without(qemuStreams(), "no-footers")),
    ...named("libvirt", libvirtSaves()),
    ...named("avml", await avmls()),
    "legacy-pv64": fixture("xen-legacy", "pv64-xsmall.legacy.gz"),
    "legacy-hvm64": fixture("xen-legacy", "hvm64-params.legacy.gz"),
    "xen-pv64": unpacked("xen-v3", "pv64.save.zst"),
    "qemu-compress": small,
    "libvirt-raw": unpacked("libvirt-save", "raw.save.zst"),
    "libvirt-xz": fixture("libvirt-save", "nodes-and-dimm.save"),
    "kdump-flattened": fixture("vmcore", "tiny-split.lzo.flat.gz"),
    kdump: small && (await written("kdump", small)),
    lime: small && (await written("lime", small)),
    "avml-field": unpacked("field", "compressed.avml.zst"),
    ...dumps(),
  });
}
