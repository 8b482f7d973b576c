import { GuestscopeError } from "../findings/errors.js";
import type { GuestImage } from "../guest/image.js";
import type { OpenOptions } from "../guest/options.js";
import { type GuestSummary, summarizeGuest } from "../guest/summary.js";
import { type ByteSource, type ByteStream, isByteSource } from "../io/byte-source.js";

/**
 * The summary of the guest that an input holds; undefined where the input can't be read at any offset or no guest can
 * be opened from it. What is wrong with the input is for its inspection to say.
 */
export async function summarizeInput(
  input: ByteSource | ByteStream,
  options: OpenOptions,
  open: (input: ByteSource, options: OpenOptions) => Promise<GuestImage>,
): Promise<GuestSummary | undefined> {
  if (!isByteSource(input)) return undefined;
  let guest: GuestImage | undefined;
  try {
    guest = await open(input, { ...options, partial: true });
    return await summarizeGuest(guest, options);
  } catch (error) {
    if (error instanceof GuestscopeError) return undefined;
    throw error;
  } finally {
    await guest?.close?.();
  }
}
