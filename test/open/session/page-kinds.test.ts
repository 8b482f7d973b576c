import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { installNodeCodecs } from "../../../src/io/node/codecs.js";
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
    expect(await kinds(source, "sends")).toBeUndefined();
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
