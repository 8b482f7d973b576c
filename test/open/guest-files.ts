import * as fs from "node:fs";
import * as path from "node:path";
import { fixture } from "../../fuzz/seeds.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { openRandomAccess } from "../../src/io/node/decompress.js";
import { runCli, scratch } from "../shared.js";

async function unpacked(...name: readonly string[]): Promise<Buffer> {
  const opened = await openRandomAccess(bytesSource(fixture(...name), name.join("/")));
  const { source } = opened;
  const bytes = Buffer.alloc(source.size);
  await source.read(0, bytes);
  opened.close();
  return bytes;
}

/** The same guest in files of several formats, by the formats' names, and a QEMU stream. */
export async function guestFiles(): Promise<ReadonlyMap<string, Buffer>> {
  const { folder, cleanup } = scratch();
  try {
    const legacy = path.join(folder, "guest.legacy");
    fs.writeFileSync(legacy, await unpacked("xen-legacy", "hvm64-bare.legacy.gz"));
    const files = new Map<string, Buffer>([["legacy", fs.readFileSync(legacy)]]);
    const take = (name: string, ...command: readonly string[]): void => {
      const output = path.join(folder, `guest.${name}`);
      const { status, stderr } = runCli([...command, legacy, output]);
      if (status !== 0) throw new Error(stderr);
      files.set(name, fs.readFileSync(output));
    };
    take("v3", "convert");
    for (const to of ["elf", "lime"]) take(to, "extract", "--to", to);
    take("kdump", "extract", "--to", "kdump", "--compress", "none");
    files.set("qevm", await unpacked("readers", "qemu-6.1-cloud.qevm.zst"));
    return files;
  } finally {
    cleanup();
  }
}
