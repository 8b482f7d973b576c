import type { VerifyOptions } from "../../guest/input-format.js";
import type { ByteSource, ByteStream } from "../../io/byte-source.js";
import { LibxcChecker } from "../libxc/check.js";
import { LibxlChecker } from "../libxl/check.js";
import { type Problems, type StreamItem, XenStream, type XenStreamOptions } from "./read.js";
import { STREAM_RULES } from "./rules.js";

export interface VerifyStreamOptions extends VerifyOptions, XenStreamOptions {
  /** Sees every item of the stream, before its body is checked. */
  readonly onItem?: (item: StreamItem, stream: XenStream) => void | Promise<void>;
}

/**
 * Checks a Xen migration stream of version 2 or 3, whichever layer it begins with, against every rule.
 * @param problems takes the findings: a `Report`, or `strictly` to throw the first error
 */
export async function verifyXenStream(
  input: ByteSource | ByteStream,
  problems: Problems,
  options: VerifyStreamOptions = {},
): Promise<void> {
  const stream = new XenStream(input, problems, options);
  const libxl = new LibxlChecker(problems);
  const libxc = new LibxcChecker(problems);
  const { size } = stream.reader;
  for await (const item of stream.items()) {
    options.progress?.(stream.reader.position, size);
    const seen = options.onItem?.(item, stream);
    if (seen instanceof Promise) await seen;
    switch (item.kind) {
      case "image-header":
        libxc.image(item);
        break;
      case "domain-header":
        libxc.domain(item);
        break;
      case "record":
        await (item.layer === "libxc" ? libxc : libxl).check(item, stream.body);
        break;
      case "trailing":
        if (item.handshake) {
          problems.add(STREAM_RULES.wireHandshake, item, "xl's hand-shake: captured from a live migration");
        } else {
          problems.add(STREAM_RULES.trailing, item, `${item.size} bytes behind END`);
        }
        break;
      default:
    }
  }
}
