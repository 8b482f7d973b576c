import type { Report } from "../findings/report.js";
import type { ByteSource, ByteStream } from "../io/byte-source.js";
import type { OpenSpool } from "../io/spool.js";
import type { GuestImage } from "./image.js";

/** Bytes of an input's head that detection looks at. */
export const HEAD_SIZE = 4096;

export interface OpenOptions {
  /** Take what is intact of a damaged or incomplete input. */
  readonly partial?: boolean;
  /** Reports progress in bytes of `total` done. */
  readonly progress?: (done: number, total: number | undefined, phase: string) => void;
  /** Opens a file that the input names or that lies beside it (split parts, debug info, backing files). */
  readonly openFile?: (path: string) => Promise<ByteSource>;
  /** Scratch storage for contents that can't be read from the input again; default: memory. */
  readonly openSpool?: OpenSpool;
  /** Settings of one format, as its documentation names them. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

export interface VerifyOptions {
  readonly progress?: (done: number, total: number | undefined) => void;
}

/** A document about one input for programs; `kind` tells its schema, presentation turns it into text. */
export interface Inspection {
  readonly schemaVersion: 1;
  readonly kind: string;
  readonly source: string;
}

/** What one kind of file can do. A format is an object, so that a bundler drops what nobody lists. */
export interface InputFormat {
  /** Stable: `xen-stream`, `xen-legacy`, `qemu-core`, `elf-vmcore`, `kdump`, `qemu-migration` … */
  readonly id: string;
  /** For people: `Xen migration stream`. */
  readonly title: string;
  /** Verifying and inspecting take an input that can be read at any offset: a pipe has to be stored first. */
  readonly needsRandomAccess?: true;
  /** Whether `head` (up to HEAD_SIZE bytes from the start; fewer at the end of a short input) is of this format. */
  matches(head: Uint8Array): boolean;
  /** Adds all findings it can reach to `report`. */
  verify?(input: ByteSource | ByteStream, report: Report, options: VerifyOptions): Promise<void>;
  inspect?(input: ByteSource | ByteStream, options: OpenOptions): Promise<Inspection>;
  /** Builds the model. @throws GuestscopeError when that can't be done. */
  openGuest?(input: ByteSource, options: OpenOptions): Promise<GuestImage>;
}
