import { appendTo } from "../../binary/arrays.js";
import { formatError } from "../../findings/diagnostics.js";
import { describeError, FormatError } from "../../findings/errors.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import { type LostPart, rescueWarnings } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { GuestCollector } from "./collect.js";
import { type DamagedHead, findHead } from "./head.js";
import { STREAM_RULES } from "./rules.js";
import { salvageStream } from "./salvage.js";

/**
 * The guest of a version 2 or 3 stream, whatever layers are around it. Contents of pages are found, not read.
 *
 * A stream of checkpoints (Remus) that breaks off is taken as of its last complete checkpoint. Any other
 * damage is an error, or with `partial` bridged where records are found after it, with a warning that says what is missing.
 */
export async function openStreamGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  const walk = new GuestCollector(input, options, Number.POSITIVE_INFINITY);
  const isPartial = options.partial === true;
  try {
    await walk.run();
    // zeros in the middle look like END
    if (isPartial && (!walk.began || walk.isContradicted || walk.hasUntyped || walk.trailing !== undefined)) {
      const salvaged = await salvagedGuest(input, options, walk);
      if (salvaged !== undefined) return salvaged;
    }
    const guest = await withRescue(walk, []);
    if (isPartial || walk.trailing === undefined || guest.vcpus.length > 0) return guest;
    throw formatError(
      STREAM_RULES.trailing,
      input.name,
      walk.trailing,
      "bytes follow END, and no record before it has vCPUs: what is read as END is none",
    );
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    if (walk.checkpoint > 0) return guestAtCheckpoint(input, options, walk.checkpoint, error);
    const salvaged = isPartial ? await salvagedGuest(input, options, walk) : undefined;
    if (salvaged !== undefined) return salvaged;
    if (!isPartial || !walk.began) throw error;
    walk.warnings.push(`incomplete: ${describeError(error)}`);
  }
  return withRescue(walk, []);
}

async function guestAtCheckpoint(
  input: ByteSource,
  options: OpenOptions,
  checkpoint: number,
  error: FormatError,
  head?: DamagedHead,
): Promise<GuestImage> {
  const again = new GuestCollector(input, options, checkpoint, head);
  await again.run();
  again.warnings.push(`taken as of its last complete checkpoint: ${describeError(error)}`);
  return withRescue(again, head?.lost ?? []);
}

/** The guest of a stream that is damaged in its head or its middle; undefined where no records are found. */
async function salvagedGuest(
  input: ByteSource,
  options: OpenOptions,
  { began, firstRecord, isContradicted, isWrapped, order }: GuestCollector,
): Promise<GuestImage | undefined> {
  if (began && !isContradicted) return bridgedGuest(input, options, { first: firstRecord, order, isWrapped });
  const head = await findHead(input);
  if (head === undefined) return undefined;
  const walk = new GuestCollector(input, options, Number.POSITIVE_INFINITY, head);
  try {
    await walk.run();
    if (walk.trailing === undefined) return await withRescue(walk, head.lost);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    if (walk.checkpoint > 0) return guestAtCheckpoint(input, options, walk.checkpoint, error, head);
  }
  return (await bridgedGuest(input, options, head, head)) ?? withRescue(walk, head.lost);
}

/** The guest of a stream whose records are damaged; undefined where no damage is found in them. */
async function bridgedGuest(
  input: ByteSource,
  options: OpenOptions,
  { first, order, isWrapped }: Pick<DamagedHead, "first" | "order" | "isWrapped">,
  head?: DamagedHead,
): Promise<GuestImage | undefined> {
  const salvage = await salvageStream(input, first, order, isWrapped);
  if (salvage.lost.length === 0) return undefined;
  const walk = new GuestCollector(salvage.source, options, Number.POSITIVE_INFINITY, head, salvage);
  try {
    await walk.run();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    walk.warnings.push(`incomplete: ${describeError(error)}`);
  }
  return withRescue(walk, [...(head?.lost ?? []), ...salvage.lost]);
}

/** The guest as it was collected, with what was lost of its stream. */
async function withRescue(walk: GuestCollector, lost: readonly LostPart[]): Promise<GuestImage> {
  const rescue = walk.rescue(lost);
  if (rescue === undefined) return walk.guest();
  appendTo(walk.warnings, rescueWarnings(rescue));
  return { ...(await walk.guest()), rescue };
}
