import { latin1, viewOf } from "../binary/layout.js";
import { UsageError } from "../findings/errors.js";
import { HEAD_SIZE } from "../guest/options.js";
import { type ByteSource, type ByteStream, isByteSource } from "../io/byte-source.js";
import { detectCompression } from "../io/codecs/compressions.js";
import { openRandomAccess } from "../io/node/decompress.js";
import { peekHead } from "../io/peek-head.js";
import { findFormat } from "../open/detect.js";

/** Bytes of a pipe that may be read before it is known to be a legacy stream: fewer than any such stream has. */
const PIPE_HEAD = 64;

/** Formats that `convert` takes; an envelope may hold either kind of stream. */
const CONVERTIBLE = new Set(["xen-legacy", "xen-xapi", "xen-libvirt"]);

/** An input for `convert`, unpacked, and what must be given back. */
export interface GivenInput {
  readonly input: ByteSource | ByteStream;
  close(): void;
}

/**
 * Unpacks a compressed input and makes sure that there is something to convert.
 * @throws UsageError that says what it was given instead
 */
export async function legacyInput(
  given: ByteSource | ByteStream,
  directory: string | undefined,
): Promise<GivenInput> {
  const most = isByteSource(given) ? HEAD_SIZE : PIPE_HEAD;
  const { head, input: whole } = await peekHead<ByteSource | ByteStream>(given, most);
  const compression = detectCompression(head);
  if (compression === undefined) {
    await refuseOthers(head, given.name, "");
    return { input: whole, close: () => undefined };
  }
  const access = await openRandomAccess(whole, directory === undefined ? {} : { directory });
  try {
    const { head: inner } = await peekHead(access.source, HEAD_SIZE);
    await refuseOthers(inner, given.name, `a ${compression} file holding `);
  } catch (error) {
    access.close();
    throw error;
  }
  return { input: access.source, close: () => access.close() };
}

async function refuseOthers(head: Uint8Array, source: string, around: string): Promise<void> {
  const format = await findFormat(head);
  if (format === undefined || CONVERTIBLE.has(format.id)) return;
  if (format.id === "xen-stream") {
    const version = versionOf(head);
    const form = version === undefined ? "in today's form" : `of version ${version}`;
    throw new UsageError(`${around}a Xen stream ${form} already: nothing to convert`, { source });
  }
  throw new UsageError(
    `${around}a ${format.title}, not a Xen stream: 'guestscope extract' writes what other programs open`,
    { source },
  );
}

/** Version in the libxc image header, where that is in sight: 8 bytes of ones, `XENF`, the version, big endian always. */
function versionOf(head: Uint8Array): number | undefined {
  const at = latin1(head).indexOf("XENF");
  return at === -1 || at + 8 > head.length ? undefined : viewOf(head).getUint32(at + 4, false);
}
