import type { LayoutSection } from "../binary/layout.js";
import type { Diagnostics } from "../findings/diagnostics.js";
import type { RuleSection } from "../findings/rule.js";
import type { ByteSource, ByteStream } from "../io/byte-source.js";
import type { GuestImage } from "./image.js";
import type { GuestInspection } from "./inspection.js";
import type { OpenOptions, VerifyOptions } from "./options.js";

/** What a format does with an input; each function loads its code when it is called first. */
export interface FormatReader<Input> {
  /** Reports all that is wrong with an input. @throws FormatError where nothing more can be read */
  verify?(input: Input, diagnostics: Diagnostics, options: VerifyOptions): Promise<void>;
  /** Describes an input: its format and contents. @throws GuestscopeError */
  inspect(input: Input, options: OpenOptions): Promise<GuestInspection>;
  /** Builds the model of the guest. @throws GuestscopeError when that can't be done */
  openGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage>;
}

/** An input that can be read at any offset, or one that may also come from a pipe. */
export type InputReader =
  | ({ readonly access: "random" } & FormatReader<ByteSource>)
  | ({ readonly access: "sequential" } & FormatReader<ByteSource | ByteStream>);

/**
 * An input format: how to detect, verify, inspect and open it, and all that documentation says of it. It is an object,
 * so that a bundler drops what nobody lists.
 */
export interface InputFormat {
  /** Stable: `xen-stream`, `xen-legacy`, `qemu-core`, `elf-vmcore`, `kdump`, `qemu-migration` … */
  readonly id: string;
  /** For people: `Xen migration stream`. */
  readonly title: string;
  /** Whether `head` (up to HEAD_SIZE bytes from the start; fewer at the end of a short input) is of this format. */
  matches(head: Uint8Array): boolean;
  /**
   * Whether an input is of this format by what follows its first bytes, which are damaged: records in a row, or tables
   * that agree. Without it a damaged head isn't recognised.
   */
  readonly matchesDamaged?: (input: ByteSource) => Promise<boolean>;
  /** The same by a search through all of the input; asked where no format matches otherwise. */
  readonly matchesFar?: (input: ByteSource) => Promise<boolean>;
  /** Every rule that its reader reports or throws, but for those of the libraries below it (`elf`, `io` …). */
  readonly rules: () => Promise<readonly RuleSection[]>;
  /** Every structure it declares. */
  readonly layouts: () => Promise<readonly LayoutSection[]>;
  readonly reader: InputReader;
}
