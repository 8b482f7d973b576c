import { type AbsentReason, absentReasons } from "../../../guest/absent.js";
import type { BlockPages, RamBlock } from "./blocks.js";

/** Why pages that no record holds are absent. */
export const ABSENT = absentReasons({
  neverSent: { kind: "not-saved", text: "never sent" },
  lost: { kind: "damaged", text: "no record holds it, and part of the stream is damaged" },
  leftShared: { kind: "elsewhere", text: "left in shared memory (x-ignore-shared)" },
  handedOver: { kind: "elsewhere", text: "handed over as a file descriptor (cpr-transfer)" },
  throughChannels: { kind: "elsewhere", text: "sent through multifd channels, which are not here" },
  beside: {
    kind: "elsewhere",
    text: "not a page was sent: through multifd channels, or handed over (cpr-transfer)",
  },
});

/** What a whole stream says of how its pages travelled. */
export interface Travel {
  /** Records at which multifd channels meet. */
  readonly flushes: number;
  /** Blocks that a cpr channel names. */
  readonly handedOver: ReadonlySet<string>;
  /** Whether any page came with its contents in the stream itself. */
  readonly hasContents: boolean;
}

/** Where the pages of a block of a whole stream are that it lacks; undefined: they were never sent, for all that is known. */
export function absenceOf(
  block: RamBlock,
  { missing }: Pick<BlockPages, "missing">,
  { flushes, handedOver, hasContents }: Travel,
): AbsentReason | undefined {
  if (missing === 0) return undefined;
  const isWhole = missing === block.pages;
  if (isWhole && handedOver.has(block.name)) return ABSENT.handedOver;
  if (flushes > 0) return ABSENT.throughChannels;
  if (isWhole) return ABSENT.beside;
  // before QEMU 8.1 nothing but the lack of all contents tells
  return hasContents ? undefined : ABSENT.throughChannels;
}
