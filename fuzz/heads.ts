import type { GuestImage } from "../src/guest/image.js";
import { bytesSource } from "../src/io/byte-source.js";
import { FORMATS } from "../src/open/formats.js";
import { Violation } from "./checks.js";
import { type Damage, damaged } from "./damage.js";
import type { Random } from "./random.js";
import { holdRescue, type Known, knownOf } from "./rescue-oracle.js";
import { headed } from "./rescue-seeds.js";
import type { Target } from "./targets.js";

/** Heads are no longer, but for tables. */
const LONGEST_HEAD = 16;
const MOST_DAMAGE = 12;

/** Formats that an input of another has within: it comes first where both are asked. */
const WITHIN: Readonly<Record<string, string>> = {
  "libvirt-qemu-save": "qemu-migration",
  kdump: "elf-vmcore",
};

const asked = new WeakSet<Uint8Array>();

/** No format takes an undamaged input of another for a damaged one of its own. */
async function isNoOther(bytes: Uint8Array, { format }: Known): Promise<void> {
  if (asked.has(bytes)) return;
  asked.add(bytes);
  for (const other of FORMATS) {
    const isOwn = other.id === format || WITHIN[format] === other.id;
    if (!isOwn && (await other.matchesDamaged?.(bytesSource(bytes))) === true)
      throw new Violation(`an undamaged ${format} is taken for a damaged ${other.id}`);
  }
}

/** The kind of file by its first words: versions and envelopes may be lost. */
function kindOf(origin: string): string {
  return /QEMU|ELF|kdump|LiME|AVML|Xen core|legacy|Xen/i.exec(origin)?.[0] ?? origin;
}

/** Whether damage is in a name as the input has it: nothing repeats it. */
function isWithin(whole: Uint8Array, name: string, { start, end }: Damage): boolean {
  const at = Buffer.from(whole.buffer, whole.byteOffset, whole.length).indexOf(name);
  // of a packed stream, anywhere
  if (at < 0) return name.includes("-");
  return start < at + name.length && Math.max(end, start + 1) > at;
}

/** What is said of the guest is what it was, or said to be a guess. */
function holdFacts(
  whole: Uint8Array,
  about: Known,
  damage: Damage,
  { arch, facts, vcpus }: GuestImage,
): void {
  const kind = kindOf(facts.origin);
  const said = (what: string, now: unknown, before: unknown): void => {
    throw new Violation(`${damage.where}: ${what} is said to be ${String(now)}, not ${String(before)}`);
  };
  if (kind !== kindOf(about.origin)) said("format", kind, kindOf(about.origin));
  if (arch.name !== about.arch && facts.archIsGuess !== true) said("arch", arch.name, about.arch);
  const { guestType } = facts;
  const isNamed = guestType !== undefined && guestType !== about.guestType;
  if (isNamed && !isWithin(whole, about.guestType ?? "", damage)) said("type", guestType, about.guestType);
  if (vcpus.length > about.vcpus) said("number of vCPUs", vcpus.length, about.vcpus);
}

async function run(bytes: Uint8Array, random: Random): Promise<string> {
  const about = await knownOf(bytes);
  await isNoOther(bytes, about);
  const size = Math.min(Math.ceil(2 ** (random.below(MOST_DAMAGE * 16 + 1) / 16)), bytes.length >> 2);
  const at = Math.floor(2 ** (random.below(LONGEST_HEAD * 16 + 1) / 16)) - 1;
  const damage = damaged(bytes, Math.min(at, bytes.length >> 1), size, random);
  const { guest, outcome } = await holdRescue(bytes, damage);
  if (guest === undefined) return `${about.format} ${outcome}`;
  holdFacts(bytes, about, damage, guest);
  return `${about.format} ${outcome}`;
}

/** Inputs of every format whose first bytes are damaged. */
export const heads: Target = { name: "heads", seeds: headed, run, isWhole: true };
