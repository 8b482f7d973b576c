import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import type { GuestImage } from "../../src/guest/image.js";
import type { PhysicalMemory } from "../../src/guest/memory.js";
import { installNodeCodecs } from "../../src/io/node/codecs.js";
import { openRandomAccess } from "../../src/io/node/decompress.js";
import { openFile } from "../../src/io/node/files.js";
import { openGuest } from "../../src/open/open.js";
import { fixtures } from "../shared.js";

installNodeCodecs();

/** Guests cut down to what their reading touches; see the folder's README. */
export const GUESTS = ["hvmlinux-6.1", "la57-7.2", "arm64-6.12", "panic-6.1"] as const;

export interface TruthTask {
  readonly pid: number;
  readonly tgid: number;
  readonly ppid: number;
  readonly comm: string;
  readonly state: number;
  readonly kthread: boolean;
  readonly uid: number;
  readonly task: string;
  readonly start_time: number;
  readonly utime: number;
  readonly stime: number;
  readonly cpu?: number;
  readonly on_cpu?: number;
  readonly cmdline: readonly string[];
}

/** What drgn said of a guest. */
export interface Truth {
  readonly tasks: readonly TruthTask[];
  readonly modules?: readonly { readonly name: string; readonly address: string }[];
}

export const fixturePath = (name: string): string => path.join(fixtures, "linux", name);

export function readTruth(file: string): Truth {
  return JSON.parse(zlib.gunzipSync(fs.readFileSync(file)).toString("utf8")) as Truth;
}

/** Opens a file of any kind, compressed or not. */
export async function openAny(file: string): Promise<GuestImage> {
  const access = await openRandomAccess(openFile(file));
  const guest = await openGuest(access.source, { openFile: async (name) => openFile(name) });
  const close = async (): Promise<void> => {
    await guest.close?.();
    access.close();
  };
  return { ...guest, close };
}

export const openFixture = (name: string): Promise<GuestImage> => openAny(fixturePath(`${name}.elf.xz`));

/** The guest with its memory changed on the way to the reader. */
export function changed(guest: GuestImage, change: (gpa: number, bytes: Uint8Array) => void): GuestImage {
  const { memory } = guest;
  const altered: PhysicalMemory = {
    ranges: () => memory.ranges(),
    pieces: (start, end) => memory.pieces(start, end),
    read: (gpa, into) => {
      const finish = (n: number): number => {
        change(gpa, into.subarray(0, n));
        return n;
      };
      const n = memory.read(gpa, into);
      return n instanceof Promise ? n.then(finish) : finish(n);
    },
  };
  return { ...guest, memory: altered };
}

/** The guest with eight bytes at a guest-physical address set to a value. */
export function poked(guest: GuestImage, place: number, value: bigint): GuestImage {
  const word = new Uint8Array(new BigUint64Array([value]).buffer);
  return changed(guest, (gpa, bytes) => {
    for (let i = 0; i < 8; i += 1)
      if (place + i >= gpa && place + i < gpa + bytes.length) bytes[place + i - gpa] = word[i] ?? 0;
  });
}

/** The guest with another VMCOREINFO. */
export function described(guest: GuestImage, edit: (text: string) => string): GuestImage {
  const { vmcoreInfo } = guest.facts;
  if (vmcoreInfo === undefined) throw new Error("no VMCOREINFO");
  return { ...guest, facts: { ...guest.facts, vmcoreInfo: { text: edit(vmcoreInfo.text) } } };
}
