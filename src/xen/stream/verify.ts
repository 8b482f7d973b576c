import type { Diagnostics } from "../../findings/diagnostics.js";
import type { VerifyOptions } from "../../guest/options.js";
import type { ByteSource, ByteStream } from "../../io/byte-source.js";
import { LibxcChecker } from "../libxc/check.js";
import { LibxlChecker } from "../libxl/check.js";
import { summarizeConfig } from "../xl/config.js";
import type { StreamItem } from "./items.js";
import { XenStream, type XenStreamOptions } from "./read.js";
import { STREAM_RULES } from "./rules.js";

/** How a Xen migration stream is verified. */
export interface VerifyStreamOptions extends VerifyOptions, XenStreamOptions {
  /** Sees every item of the stream, before its body is checked. */
  readonly onItem?: (item: StreamItem, stream: XenStream) => void | Promise<void>;
}

/**
 * Checks a Xen migration stream of version 2 or 3, whichever layer it begins with, against every rule.
 * @param diagnostics takes the findings: a `Report`, or `StrictDiagnostics` to throw the first error
 */
export async function verifyXenStream(
  input: ByteSource | ByteStream,
  diagnostics: Diagnostics,
  options: VerifyStreamOptions = {},
): Promise<void> {
  const stream = new XenStream(input, diagnostics, options);
  const libxl = new LibxlChecker(diagnostics);
  const libxc = new LibxcChecker(diagnostics);
  const { size } = stream.reader;
  let isPvh = false;
  for await (const item of stream.items()) {
    options.progress?.(stream.reader.position, size);
    const seen = options.onItem?.(item, stream);
    if (seen instanceof Promise) await seen;
    switch (item.kind) {
      case "xl-header":
        isPvh = item.config !== undefined && summarizeConfig(item.config).type === "pvh";
        break;
      case "image-header":
        libxc.image(item.header);
        break;
      case "domain-header":
        libxc.domain(item.header);
        break;
      case "record":
        if (item.layer === "libxc") await libxc.check(item, stream.body);
        else await libxl.check(item, stream.body, isPvh && libxc.guest === "hvm" ? "pvh" : libxc.guest);
        break;
      case "trailing":
        if (item.handshake) {
          diagnostics.report(
            STREAM_RULES.wireHandshake,
            item,
            "xl's handshake: captured from a live migration",
          );
        } else {
          diagnostics.report(STREAM_RULES.trailing, item, `${item.size} bytes after END`);
        }
        break;
      default:
    }
  }
}
