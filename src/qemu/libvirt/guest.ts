import { StrictDiagnostics } from "../../findings/diagnostics.js";
import { Report } from "../../findings/report.js";
import { withoutDamage } from "../../guest/damage.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import { type LostPart, withMoreLost } from "../../guest/salvage.js";
import type { ByteSource, Packed } from "../../io/byte-source.js";
import { openStream, TAKE_INTACT } from "../migration/guest.js";
import { domainFacts, type SaveHead } from "./head.js";
import { envelopeOf, openSave, spooled } from "./open.js";

/** The guest in a save. With `partial` what is damaged of its envelope, and of its compressed stream, is passed over. */
export async function openSavedGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  const report = new Report(input.name);
  const isPartial = options.partial === true;
  const strict = new StrictDiagnostics(input.name, {
    onRemark: (rule, place, message) => report.report(rule, place, message),
    remedy: TAKE_INTACT,
  });
  const diagnostics = isPartial ? report : strict;
  const opened = await openSave(input, diagnostics, isPartial);
  const { packed } = opened;
  const spool = packed && (await spooled(input, packed, diagnostics, { ...options, isPartial }));
  const kept = spool ?? input;
  const close = (): void => spool?.close();
  try {
    const stream = await openStream(kept, options, {
      ...envelopeOf(opened, input.name),
      warnings: report.findings.map(({ message }) => message),
    });
    const unpacked =
      kept.packed === undefined ? stream : await withPackedLoss(stream, kept.packed, input, options);
    const guest = opened.head === undefined ? unpacked : withHeadLoss(unpacked, opened.head);
    return {
      ...guest,
      close: async () => {
        await guest.close?.();
        close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** A guest without the memory that was in lost packed data; what is lost is where they are in the file. */
async function withPackedLoss(
  guest: GuestImage,
  { compression, lost = [], tear }: Packed,
  input: ByteSource,
  { progress }: OpenOptions,
): Promise<GuestImage> {
  const parts: LostPart[] = lost.map(({ packedStart, packedEnd, message }) => ({
    start: packedStart,
    end: packedEnd,
    proof: 0,
    what: message,
  }));
  if (tear?.isCut === false)
    parts.push({ start: tear.packedOffset, end: input.size, proof: 0, what: tear.message });
  const { rescue, warnings } = guest;
  if (rescue === undefined && parts.length === 0) return guest;
  const placed = {
    ...guest,
    rescue: { ...rescue, lost: parts, doubtful: rescue?.doubtful ?? [] },
    warnings: [...warnings, `offsets in the stream are in what its ${compression} data unpack to`],
  };
  if (lost.length === 0) return placed;
  return withoutDamage(placed, (done, total) => progress?.(done, total, "looking for damage"));
}

/** A guest with what is lost of a damaged envelope, and what shows what that said. */
function withHeadLoss(guest: GuestImage, { lost, facts, isXmlDamaged, envelope }: SaveHead): GuestImage {
  const head = [...facts, ...(isXmlDamaged ? domainFacts(envelope.domain, guest) : [])];
  return withMoreLost(guest, { lost, head });
}
