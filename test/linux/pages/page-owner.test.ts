import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AbsentError, FormatError } from "../../../src/findings/errors.js";
import { CachedMemory } from "../../../src/guest/cached-memory.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { AddressSpace } from "../../../src/linux/address-space.js";
import { type Kernel, openKernel } from "../../../src/linux/kernel.js";
import { type PageOwner, PageOwners } from "../../../src/linux/pages/page-owner.js";
import { taskOf } from "../../../src/linux/where.js";
import { gunzipText, rounds } from "../../shared.js";
import { changed, fixturePath, openFixture } from "../fixture.js";

/** What drgn said of a place: the members that its kind has. */
interface Place {
  readonly gpa: number;
  readonly kind: string;
  readonly cache?: string;
  readonly index?: number;
  readonly offset?: number;
  readonly inode?: number;
  readonly fileSystem?: string;
  readonly path?: string | null;
  readonly pid?: number;
  readonly comm?: string;
  readonly cpu?: number;
  readonly symbol?: string;
  readonly caller?: string;
}

const placesOf = (name: string): readonly Place[] =>
  JSON.parse(gunzipText(fixturePath(`${name}.places.json.gz`))) as Place[];

/** An owner in drgn's words. */
function inWords({ gpa, path }: Place, owner: PageOwner | undefined): Place | undefined {
  if (owner === undefined) return undefined;
  const { kind, offset, slab, file, pid, comm, cpu, symbol = "" } = owner;
  const [name = "", within = ""] = symbol.split("/")[0]?.split("+0x") ?? [];
  switch (kind) {
    case "slab":
      return { gpa, kind, cache: slab?.cache ?? "", index: slab?.object ?? -1, offset: slab?.offset ?? -1 };
    case "file": {
      // drgn's paths are those within the file system
      const isSame = path === null ? file?.path === undefined : file?.path?.endsWith(`/${path}`) === true;
      const { inode = -1, fileSystem = "" } = file ?? {};
      return {
        gpa,
        kind,
        inode,
        fileSystem,
        path: isSame ? (path ?? null) : (file?.path ?? ""),
        offset: offset ?? -1,
      };
    }
    case "stack":
      return { gpa, kind, pid: pid ?? -1, comm: comm ?? "", offset: offset ?? -1 };
    case "per-cpu":
      return { gpa, kind, symbol: name, cpu: cpu ?? -1, offset: Number.parseInt(within, 16) };
    case "vmalloc":
      return { gpa, kind, caller: symbol.split("/")[0] ?? "" };
    default:
      return { gpa, kind };
  }
}

describe.each(["panic-6.1", "arm64-6.12", "amd64-7.2"])("owners of pages of %s", (name) => {
  let guest: GuestImage;
  let kernel: Kernel;
  const places = placesOf(name);

  beforeAll(async () => {
    guest = await openFixture(`${name}.places`);
    kernel = await openKernel(guest);
  }, 60_000);
  afterAll(async () => guest.close?.());

  it("are those that drgn names, whatever kind they are of", async () => {
    const owners = await new PageOwners(kernel).ownersOf(places.map(({ gpa }) => gpa));
    expect(new Set(places.map(({ kind }) => kind)).size).toBe(7);
    for (const [i, place] of places.entries()) expect(place).toMatchObject(inWords(place, owners[i]) ?? {});
    expect(owners.every((owner) => owner !== undefined)).toBe(true);
  });

  it("are the same when each is asked for alone, and there is none beyond memory", async () => {
    const owners = new PageOwners(kernel);
    const few = places.filter((_, i) => i % 25 === 3).map(({ gpa }) => gpa);
    const together = await owners.ownersOf([...few, 2 ** 45 + 17]);
    for (const [i, gpa] of few.entries()) expect(await owners.ownersOf([gpa])).toEqual([together[i]]);
    expect(together.at(-1)).toBeUndefined();
  });

  it("name the process that has a page of a file mapped, by either address", async () => {
    const owners = await new PageOwners(kernel).ownersOf(places.map(({ gpa }) => gpa));
    const mapped = owners.find((owner) => owner?.kind === "file" && owner.pid !== undefined);
    expect(mapped).toMatchObject({ mapping: mapped?.file?.path });
    const task = await taskOf(kernel, mapped?.pid ?? -1);
    expect(await new PageOwners(kernel).processOwners(task, [mapped?.address ?? 0n])).toEqual([mapped]);
  });
});

describe("owners of pages of a damaged guest", () => {
  it("are some or none, soon, and nothing else is thrown than what is missing", async () => {
    const guest = await openFixture("amd64-7.2.places");
    const gpas = placesOf("amd64-7.2").map(({ gpa }) => gpa);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 0x7fff_ffff }),
        fc.constantFrom(0x00, 0xff, 0x41),
        async (seed, fill) => {
          // one page in eight or so has a run of one byte in it
          const damaged = changed(guest, (gpa, bytes) => {
            const hash = Math.imul(Math.floor(gpa / 4096) + seed, 0x9e37_79b1) >>> 0;
            if (hash % 8 === 0) bytes.fill(fill, bytes.length >> 2, bytes.length >> 1);
          });
          const start = process.cpuUsage();
          try {
            await new PageOwners(await openKernel(damaged)).ownersOf(gpas);
          } catch (error) {
            if (!(error instanceof AbsentError || error instanceof FormatError)) throw error;
          }
          const { user } = process.cpuUsage(start);
          expect(user / 1000).toBeLessThan(10_000);
        },
      ),
      { numRuns: rounds(8) },
    );
    await guest.close?.();
  }, 120_000);
});

describe("a walk over page tables that never end", () => {
  it("ends with its steps", async () => {
    const nothing = { ranges: () => [], read: () => 0, async *pieces() {} };
    const space = new AddressSpace(new CachedMemory(nothing), {
      lookUp: (va) => ((va >> 12n) % 3n === 0n ? { gpa: 4096 } : { unmapped: 12 }),
      canonical: (va) => va,
    });
    const steps = { left: 3000 };
    let runs = 0;
    for await (const { gpa, length } of space.mapped(0n, 1n << 44n, steps)) {
      expect([gpa, length]).toEqual([4096, 4096]);
      runs += 1;
    }
    expect([runs, steps.left]).toEqual([1000, 0]);
  });
});
