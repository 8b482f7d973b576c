import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openFile } from "../../../src/io/node/files.js";
import { openLegacyGuest } from "../../../src/xen/legacy/guest.js";
import { gunzipText, hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { absentPages, crc, pageSums, truth } from "./model.js";

const folder = path.join(sharedData, "xen-legacy");
const skip = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");
const names = skip
  ? []
  : fs
      .readdirSync(folder)
      .filter((name) => name.endsWith(".legacy.zst"))
      .map((name) => name.slice(0, -".legacy.zst".length))
      .sort();
const { folder: work, cleanup } = scratch();
afterAll(cleanup);

interface Meta {
  readonly guest: "pv" | "hvm";
  readonly guest_width_bytes?: number;
  readonly hvm_params?: Record<string, string>;
  readonly vcpus_online?: number[];
  readonly pv?: {
    readonly shared_info_crc32: string;
    readonly vcpus: {
      id: number;
      basic_crc: string;
      ext_crc?: string;
      xsave?: { crc: string; len: number } | null;
    }[];
  };
}

describe.skipIf(skip)("legacy streams as guests", () => {
  it("are there", () => expect(names.length).toBeGreaterThan(30));

  it.each(names)("%s: memory and vCPUs are as recorded", async (name) => {
    const file = unzstd(path.join(folder, `${name}.legacy.zst`), work);
    const meta = JSON.parse(fs.readFileSync(path.join(folder, `${name}.meta.json`), "utf8")) as Meta;
    const source = openFile(file);
    const guest = await openLegacyGuest(source, {});
    const { sums, without } = truth(gunzipText(path.join(folder, `${name}.final.gz`)));
    expect(await pageSums(guest)).toEqual(sums);
    expect([...absentPages(guest).values()].flat()).toEqual([...without.keys()]);
    expect(guest.facts.guestType).toBe(meta.guest === "pv" ? "PV" : "HVM");
    if (meta.pv !== undefined) {
      expect(guest.arch.bits).toBe(meta.guest_width_bytes === 4 ? 32 : 64);
      expect(crc(guest.raw?.shared_info ?? new Uint8Array())).toBe(meta.pv.shared_info_crc32);
      const found = guest.vcpus.map(({ id, raw, registers }) => {
        expect(registers?.kind).toBe("x86");
        return {
          id,
          basic: crc(raw?.context ?? new Uint8Array()),
          extended: raw?.extended === undefined ? undefined : crc(raw.extended),
          xsave: raw?.xsave === undefined ? undefined : crc(raw.xsave),
        };
      });
      expect(found).toEqual(
        meta.pv.vcpus.map(({ id, basic_crc, ext_crc, xsave }) => ({
          id,
          basic: basic_crc,
          extended: ext_crc ?? undefined,
          xsave: xsave?.crc,
        })),
      );
    }
    await guest.close?.();
    source.close();
    fs.rmSync(file);
  });
});
