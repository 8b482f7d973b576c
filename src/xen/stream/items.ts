import type { ByteOrder, RecordOf } from "../../binary/layout.js";
import type { domainHeader, imageHeader } from "../libxc/layout.js";
import type { libxlHeader } from "../libxl/layout.js";
import type { RecordLayer, StreamRecord } from "../record.js";
import type { xlHeader } from "../xl/layout.js";

/** Layers of a stream, from the outside in. */
export type Layer = "xl" | RecordLayer;

/** The header of an xl save file, with its configuration. */
export interface XlHeaderItem {
  readonly kind: "xl-header";
  readonly offset: number;
  readonly header: RecordOf<typeof xlHeader>;
  readonly order: ByteOrder;
  /** Without its closing NUL. */
  readonly config: string | undefined;
  /** Whether the header calls the configuration JSON. */
  readonly json: boolean;
}

/** The header of the libxl layer. */
export interface LibxlHeaderItem {
  readonly kind: "libxl-header";
  readonly offset: number;
  readonly header: RecordOf<typeof libxlHeader>;
  readonly order: ByteOrder;
}

/** The first header of the libxc layer: version and byte order. */
export interface ImageHeaderItem {
  readonly kind: "image-header";
  readonly offset: number;
  readonly header: RecordOf<typeof imageHeader>;
  readonly order: ByteOrder;
}

/** The second header of the libxc layer: kind of guest, version of Xen. */
export interface DomainHeaderItem {
  readonly kind: "domain-header";
  readonly offset: number;
  readonly header: RecordOf<typeof domainHeader>;
}

/** Bytes after the last END. */
export interface TrailingItem {
  readonly kind: "trailing";
  readonly offset: number;
  readonly size: number;
  /** They are the handshake of a live migration. */
  readonly handshake: boolean;
}

/** One item of a stream, in stream order; the body of a record is `XenStream.body` until the next item. */
export type StreamItem =
  | XlHeaderItem
  | LibxlHeaderItem
  | ImageHeaderItem
  | DomainHeaderItem
  | StreamRecord
  | TrailingItem;
