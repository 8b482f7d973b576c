import { damaged } from "./damage.js";
import type { Random } from "./random.js";
import { holdRescue, knownOf } from "./rescue-oracle.js";
import { bodies } from "./rescue-seeds.js";
import type { Target } from "./targets.js";

const MOST_DAMAGE = 20;

async function run(bytes: Uint8Array, random: Random): Promise<string> {
  const { places } = await knownOf(bytes);
  const size = Math.min(Math.ceil(2 ** (random.below(MOST_DAMAGE * 16 + 1) / 16)), bytes.length >> 1);
  // half of them are near what leads to pages
  const [gpa] = random.oneIn(2) ? [random.pick([...places.keys()])] : [];
  const near =
    gpa === undefined ? random.below(bytes.length - size) : (places.get(gpa) ?? 0) - random.below(64);
  const start = Math.max(0, Math.min(near, bytes.length - size));
  return (await holdRescue(bytes, damaged(bytes, start, size, random))).outcome;
}

/** Real inputs with one damage. */
export const resync: Target = { name: "resync", seeds: bodies, run, isWhole: true };
