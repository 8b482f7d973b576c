import { StrictDiagnostics } from "../../findings/diagnostics.js";
import { Report } from "../../findings/report.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import { type ByteSource, isByteSource } from "../../io/byte-source.js";
import { openStream, TAKE_INTACT } from "../migration/guest.js";
import { envelopeOf, openSave, spooled } from "./open.js";

/** The guest in a save. */
export async function openSavedGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  const report = new Report(input.name);
  const strict = new StrictDiagnostics(input.name, {
    onRemark: (rule, place, message) => report.report(rule, place, message),
    remedy: TAKE_INTACT,
  });
  const opened = await openSave(input, options.partial === true ? report : strict);
  const spool = isByteSource(opened.stream) ? undefined : await spooled(opened.stream, options);
  const kept: ByteSource = isByteSource(opened.stream) ? opened.stream : (spool ?? input);
  const close = (): void => spool?.close?.();
  try {
    const guest = await openStream(kept, options, {
      ...envelopeOf(opened, input.name),
      warnings: report.findings.map(({ message }) => message),
    });
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
