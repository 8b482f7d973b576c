import type { Diagnostics } from "../../findings/diagnostics.js";
import { Report } from "../../findings/report.js";
import type { VerifyOptions } from "../../guest/options.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { verifyStream } from "../migration/verify.js";
import { openSave, reportHead, reportMorePacked } from "./open.js";
import { LIBVIRT_SAVE_RULES } from "./rules.js";

/** Checks a save: its envelope and the stream in it. @throws FormatError when the stream can't be found */
export async function verifySave(
  input: ByteSource | ByteStream,
  diagnostics: Diagnostics,
  options: VerifyOptions,
): Promise<void> {
  const opened = await openSave(input, diagnostics);
  if (isByteSource(input)) await reportUnread(input, diagnostics);
  const stream = await verifyStream(opened.stream, diagnostics, options, opened.start);
  if (isByteSource(input)) await reportMorePacked(input, opened, diagnostics);
  const { machine } = opened.envelope.domain;
  const saved = stream.configuration.machine;
  if (machine !== undefined && saved !== undefined && machine !== saved)
    diagnostics.report(
      LIBVIRT_SAVE_RULES.memory,
      { offset: opened.envelope.streamOffset },
      `the XML says machine '${machine}', the stream '${saved}'`,
    );
}

/** Reports damage of an envelope that reading it doesn't meet. */
async function reportUnread(input: ByteSource, diagnostics: Diagnostics): Promise<void> {
  const met = new Report(input.name);
  await openSave(input, met);
  if (met.findings.length === 0) reportHead(await openSave(input, new Report(input.name), true), diagnostics);
}
