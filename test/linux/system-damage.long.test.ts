import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GuestscopeError } from "../../src/findings/errors.js";
import type { GuestImage } from "../../src/guest/image.js";
import { networkNamespaces } from "../../src/linux/interfaces.js";
import { type Kernel, openKernel } from "../../src/linux/kernel.js";
import { listModules, useModuleSymbols } from "../../src/linux/modules.js";
import { mountsOf } from "../../src/linux/mounts.js";
import { openFiles } from "../../src/linux/open-files.js";
import { openSockets } from "../../src/linux/sockets.js";
import { listTasks, type Task } from "../../src/linux/tasks.js";
import { listMappings } from "../../src/linux/user-mappings.js";
import { changed, openFixture } from "./fixture.js";

async function drain(from: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of from);
}

/** Everything that is read of a system beside its tasks and its log. */
const READERS: Readonly<Record<string, (kernel: Kernel, tasks: readonly Task[]) => Promise<unknown>>> = {
  modules: async (kernel) => listModules(kernel),
  "symbols of modules": async (kernel) => useModuleSymbols(kernel),
  interfaces: async (kernel) => drain(networkNamespaces(kernel)),
  sockets: async (kernel) => openSockets(kernel),
  mounts: async (kernel, tasks) => {
    for (const task of tasks.slice(-3)) await drain(mountsOf(kernel, task.object));
  },
  "open files": async (kernel, tasks) => {
    for (const task of tasks.slice(-12)) await drain(openFiles(kernel, task));
  },
  mappings: async (kernel, tasks) => {
    for (const task of tasks.slice(-12)) await drain(listMappings(kernel, task.mm));
  },
};

/** A well-mixed number of a place and a seed. */
function mix(place: number, seed: number): number {
  let h = Math.imul(place ^ seed, 0x9e37_79b1);
  h = Math.imul(h ^ (h >>> 15), 0x85eb_ca6b);
  return (h ^ (h >>> 13)) >>> 0;
}

/** Puts zeros, ones, noise, or the word before it into one word in `rarity`. */
function damage(gpa: number, bytes: Uint8Array, seed: number, rarity: number): void {
  for (let at = (8 - (gpa % 8)) % 8; at + 8 <= bytes.length; at += 8) {
    const chance = mix((gpa + at) / 8, seed);
    if (chance % rarity !== 0) continue;
    const kind = mix(chance, seed) % 4;
    if (kind === 3 && at >= 8) bytes.copyWithin(at, at - 8, at);
    else bytes.fill(kind === 0 ? 0 : kind === 1 ? 0xff : chance & 0xff, at, at + 8);
  }
}

describe.each(["panic-6.1", "arm64-6.12", "amd64-7.2"])("a damaged %s", (name) => {
  let guest: GuestImage;

  beforeAll(async () => {
    guest = await openFixture(name);
  });
  afterAll(async () => guest.close?.());

  it("ends in errors of ours or in what could be read, with what was met said", async () => {
    let met = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.constantFrom(20, 200, 2000), async (seed, rarity) => {
        let isDamaged = false;
        const kernel = await openKernel(
          changed(guest, (gpa, bytes) => {
            if (isDamaged) damage(gpa, bytes, seed, rarity);
          }),
        );
        const tasks: Task[] = [];
        for await (const task of listTasks(kernel)) if (task.mm !== 0n) tasks.push(task);
        isDamaged = true;
        for (const [what, read] of Object.entries(READERS)) {
          try {
            await read(kernel, tasks);
          } catch (error) {
            expect(error, what).toBeInstanceOf(GuestscopeError);
            met += 1;
          }
        }
        met += kernel.troubles.length;
      }),
      { numRuns: 6 },
    );
    expect(met).toBeGreaterThan(0);
  });
});
