import type { Diagnostics } from "../../findings/diagnostics.js";
import type { ByteSource } from "../../io/byte-source.js";
import { type Qcow2Header, readHeader } from "./header.js";
import { qcow2HeaderV3, qcow2Header } from "./layout.js";
import { QCOW2_RULES } from "./rules.js";
import { readSnapshots, type Snapshot } from "./snapshots.js";

/** An image's header and snapshot table. */
export interface Qcow2Image {
  readonly source: ByteSource;
  readonly header: Qcow2Header;
  readonly snapshots: readonly Snapshot[];
}

/**
 * Reads an image's header and its snapshot table; what is wrong with the table goes to `diagnostics`.
 * @throws FormatError when the header can't be read
 */
export async function readImage(source: ByteSource, diagnostics: Diagnostics): Promise<Qcow2Image> {
  const header = await readHeader(source);
  const features = { offset: qcow2Header.size + qcow2HeaderV3.offsetOf("incompatible_features") };
  if (header.corrupt) diagnostics.report(QCOW2_RULES.unclean, features, "the image is marked corrupt");
  if (header.dirty)
    diagnostics.report(QCOW2_RULES.unclean, features, "the image is marked dirty: it was not closed");
  return { source, header, snapshots: await readSnapshots(source, header, diagnostics) };
}
