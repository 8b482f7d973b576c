import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
import { elfVmcores, qemuStreams } from "../../../fuzz/seeds.js";
import { hasData } from "../../../src/xen/legacy/layout.js";
import { LegacyReader } from "../../../src/xen/legacy/read.js";
import { openFile } from "../../../src/io/node/files.js";
import { inspect } from "../../../src/open/open.js";
import { sourceInput } from "../../../src/open/session/input.js";
import type { MemoryTable } from "../../../src/open/session/protocol.js";
import { Session } from "../../../src/open/session/session.js";
import type { ByteSource } from "../../../src/io/byte-source.js";
import { fixtures, hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

installNodeCodecs();
const PAGE = 4096;

async function kinds(source: ByteSource, by: "kind" | "sends"): Promise<MemoryTable | undefined> {
  const session = new Session(() => sourceInput(source));
  return session.call("pageKinds", { by }, { progress: () => undefined, piece: async () => undefined });
}

/** Pages of each kind, by its name. */
const pagesOf = (table: MemoryTable | undefined): Record<string, number> =>
  Object.fromEntries(table?.legend.map(({ reason = "", bytes }) => [reason, bytes / PAGE]) ?? []);

describe("pageKinds", () => {
  it("tells the pages of a QEMU stream that are packed from those that are not", async () => {
    const file = path.join(fixtures, "qemu-migration/tiny-compress.qevm.gz");
    const source = bytesSource(new Uint8Array(gunzipSync(fs.readFileSync(file))), "tiny");
    const pages = pagesOf(await kinds(source, "kind"));
    expect(pages.packed).toBeGreaterThan(0);
  });

  it("counts how often the pages of a QEMU stream were sent", async () => {
    const { rounds = new Uint8Array(0) } = qemuStreams();
    const sent = await kinds(bytesSource(rounds, "rounds"), "sends");
    // a difference of page 1, and page 2 compressed, came in the second round
    const again = sent?.legend.findIndex(({ reason }) => reason === "sent 2") ?? -1;
    const runs = Array.from(sent?.kinds ?? [], (kind, i) => [kind, sent?.starts[i], sent?.ends[i]]);
    expect(runs.filter(([kind]) => kind === again)).toEqual([[again, PAGE, 3 * PAGE]]);
    expect(pagesOf(sent)["sent 1"]).toBeGreaterThan(200);
    // formats that hold each page once don't count
    const [vmcore = new Uint8Array(0)] = Object.values(await elfVmcores());
    expect(await kinds(bytesSource(vmcore, "vmcore"), "sends")).toBeUndefined();
  });

  it("counts how often the pages of a legacy stream were sent", async () => {
    const { folder, cleanup } = scratch();
    const file = path.join(folder, "live.legacy");
    fs.writeFileSync(
      file,
      gunzipSync(fs.readFileSync(path.join(fixtures, "xen-legacy/hvm64-live.legacy.gz"))),
    );
    const source = openFile(file);
    const batches = new Map<number, number>();
    for await (const chunk of new LegacyReader(source).chunks()) {
      if (chunk.kind !== "pages" || chunk.verify) continue;
      for (const entry of chunk.entries)
        if (hasData(entry >>> 28))
          batches.set(entry & 0xfff_ffff, (batches.get(entry & 0xfff_ffff) ?? 0) + 1);
    }
    const counted = new Map<number, number>();
    for (const times of batches.values()) counted.set(times, (counted.get(times) ?? 0) + 1);
    const sent = pagesOf(await kinds(source, "sends"));
    expect(counted.size).toBeGreaterThan(1);
    for (const [times, pages] of counted) expect([times, sent[`sent ${times}`]]).toEqual([times, pages]);
    source.close();
    cleanup();
  });

  it.skipIf(skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd"))(
    "counts how often the pages of a live migration were sent, and their types",
    async () => {
      const { folder, cleanup } = scratch();
      const source = openFile(unzstd(path.join(sharedData, "xen-v3/hvm64-live.stream.zst"), folder));
      const inspection = await inspect(source);
      if (inspection.kind !== "xen-stream") throw new Error("not a Xen stream");
      const { types, resent, sends } = inspection.details.memory;
      const named = pagesOf(await kinds(source, "kind"));
      expect(named).toEqual(Object.fromEntries(Object.entries(types).filter(([, pages]) => pages > 0)));
      const sent = await kinds(source, "sends");
      const counted = sent?.legend.map(({ reason = "", bytes }) => ({
        pages: bytes / PAGE,
        times: Number(/^sent (\d)$/.exec(reason)?.[1] ?? 0),
      }));
      expect(counted?.reduce((sum, { pages, times }) => sum + pages * times, 0)).toBe(sends);
      const again = counted?.filter(({ times }) => times > 1) ?? [];
      expect(again.reduce((sum, { pages }) => sum + pages, 0)).toBe(resent.pages);
      expect(Math.max(...again.map(({ times }) => times))).toBe(resent.mostSends);
      source.close();
      cleanup();
    },
  );
});
