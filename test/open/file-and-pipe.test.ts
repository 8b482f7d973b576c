import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mutate, type Seed } from "../../fuzz/mutate.js";
import { Random } from "../../fuzz/random.js";
import * as seeds from "../../fuzz/seeds.js";
import { UsageError } from "../../src/findings/errors.js";
import { type ByteStream, bytesSource } from "../../src/io/byte-source.js";
import { verify } from "../../src/open/open.js";

/** The same bytes from a pipe, in pieces of 1 to `most` bytes. */
function pipe(bytes: Uint8Array, most: number, random: Random): ByteStream {
  let at = 0;
  return {
    name: "input",
    read(into) {
      const n = Math.min(into.length, bytes.length - at, 1 + random.below(most));
      into.set(bytes.subarray(at, at + n));
      at += n;
      return n;
    },
  };
}

/** Every finding with its place; undefined where the format wants a file. */
async function findingsOf(input: Parameters<typeof verify>[0]): Promise<string[] | undefined> {
  try {
    const { report, format } = await verify(input);
    const lines = report.findings.map(
      ({ severity, code, offset, record, message }) =>
        `${severity} ${code} @${offset} ${record?.index ?? ""} ${message}`,
    );
    return [format ?? "", report.verdict, ...lines];
  } catch (error) {
    if (error instanceof UsageError) return undefined;
    throw error;
  }
}

const SETS: Readonly<Record<string, () => seeds.Inputs | Promise<seeds.Inputs>>> = {
  "Xen streams": seeds.xenStreams,
  "legacy Xen streams": seeds.legacyStreams,
  "Xen streams in envelopes": seeds.envelopes,
  "QEMU streams": seeds.qemuStreams,
  "libvirt saves": seeds.libvirtSaves,
  "ELF vmcores": seeds.elfVmcores,
  kdumps: seeds.kdumps,
  "LiME dumps": seeds.limes,
  "Xen cores": seeds.xenCores,
  "AVML dumps": seeds.avmls,
  "qcow2 images": seeds.qcow2Images,
};
/** QEMU describes a stream at its end: of a damaged one a file shows more than a pipe does before the damage. */
const LATE = /QEMU|libvirt saves/;

describe.each(Object.keys(SETS))("%s", (set) => {
  const inputs = async (): Promise<[string, Uint8Array][]> => Object.entries((await SETS[set]?.()) ?? {});

  it("have the same findings in a file and in a pipe, and with bytes after them", async () => {
    const random = new Random(7);
    // without footers a section's end is in the description alone, which a pipe gives last
    const known = (await inputs()).filter(([name]) => name !== "no-footers");
    for (const [name, bytes] of known)
      for (const more of [0, 1, 16, 5000]) {
        const input = Buffer.concat([bytes, Buffer.alloc(more, "trailing ")]);
        for (const most of [1, 7, 8192]) {
          const piped = await findingsOf(pipe(input, most, random));
          if (piped === undefined) continue;
          expect(piped, `${name} +${more}`).toEqual(await findingsOf(bytesSource(input, "input")));
        }
      }
  });

  it("have them when they are cut or damaged", async () => {
    const all = await inputs();
    const list: Seed[] = all.map(([name, bytes]) => ({ name, bytes, fields: [] }));
    await fc.assert(
      fc.asyncProperty(fc.nat(list.length - 1), fc.nat(), fc.boolean(), async (which, seed, isCut) => {
        const random = new Random(seed);
        const one = list[which];
        if (one === undefined) return;
        const bytes = isCut
          ? one.bytes.subarray(0, random.below(one.bytes.length))
          : mutate(one, list, random);
        const piped = await findingsOf(pipe(bytes, random.oneIn(2) ? 17 : 9000, random));
        const whole = await findingsOf(bytesSource(bytes, "input"));
        if (piped === undefined) return;
        // of a file what is in front of QEMU's streams is passed over
        if (whole?.[0] === "qemu-migration" && piped[0] === "") return;
        // of a file what follows a damaged head is looked at
        const isLookedAt = whole?.[2]?.startsWith("error open/damaged-head") === true;
        // and a head's texts are held against where the stream is found
        if (whole?.some((line) => line.startsWith("error libvirt-save/damaged-head")) === true) return;
        if (isLookedAt) expect(piped[2]).toMatch(/^error open\/unknown/);
        else if (LATE.test(set))
          expect(/^invalid/.test(piped[1] ?? "")).toBe(/^invalid/.test(whole?.[1] ?? ""));
        else expect(piped).toEqual(whole);
      }),
      { numRuns: 60 },
    );
  });
});
