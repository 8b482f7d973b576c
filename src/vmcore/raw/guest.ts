import type { GuestImage } from "../../guest/image.js";
import type { GuestInspection } from "../../guest/inspection.js";
import { withChosenVmcoreInfo } from "../../guest/kernel/chosen-vmcoreinfo.js";
import type { OpenOptions } from "../../guest/options.js";
import { summarizeGuest } from "../../guest/summary.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { UsageError } from "../../findings/errors.js";
import { architectureNamed, unlabelledGuest } from "../unlabelled.js";
import { readRaw } from "./read.js";

const WHAT = "a raw image";

/** What `inspect` says of raw memory. */
export type RawInspection = GuestInspection<
  "raw",
  { readonly pieces: readonly { readonly source: string; readonly start: number; readonly end: number }[] }
>;

async function openRaw(
  input: ByteSource,
  options: OpenOptions,
): Promise<{ readonly guest: GuestImage; readonly pieces: RawInspection["details"]["pieces"] }> {
  const settings = options.raw ?? {};
  const { memory, pieces, warnings } = await readRaw(input, settings, options);
  const facts = { origin: "raw memory", source: input.name, more: { pieces } };
  const arch = architectureNamed(settings.arch);
  const guest = await unlabelledGuest({ memory, facts, warnings }, WHAT, arch, options.findKernel);
  return { guest, pieces };
}

/**
 * Opens raw memory: a guest without vCPUs. Nothing distinguishes raw memory from other data, so it is never detected: who calls
 * must say so. `OpenOptions.raw` says where it is.
 * @throws UsageError for pieces that can't be
 */
export async function openRawGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  return withChosenVmcoreInfo((await openRaw(input, options)).guest, options.vmcoreInfo);
}

/** Describes raw memory. */
export async function inspectRaw(
  input: ByteSource | ByteStream,
  options: OpenOptions,
): Promise<RawInspection> {
  if (!isByteSource(input))
    throw new UsageError("raw memory must be a file that can be read at any offset", { source: input.name });
  const { guest, pieces } = await openRaw(input, options);
  return {
    schemaVersion: 2,
    kind: "raw",
    source: input.name,
    ...(await summarizeGuest(guest, options)),
    damage: [],
    details: { pieces },
  };
}
