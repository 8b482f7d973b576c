import { viewOf } from "../../../binary/layout.js";
import { findFooter, findNextHead } from "../footer.js";
import type { Frame } from "../frame.js";
import { ORDER, SECTION, sectionId } from "../layout.js";
import { QEMU_MIGRATION_RULES } from "../rules.js";

const FOOTER = 1 + sectionId.size;

/** A section whose end is looked for. */
export interface OpenSection {
  readonly id: number;
  readonly name: string;
  readonly offset: number;
}

/** Where sections end: by footers, which machines up to 2.3 don't write, or by what else shows it. */
export class SectionEnds {
  readonly #frame: Frame;
  /** Undefined until the first section has shown whether footers are written. */
  #written: boolean | undefined;

  constructor(frame: Frame) {
    this.#frame = frame;
  }

  /** Whether a section that is said to have `length` more bytes ends there, as far as a footer can show. */
  async endsBehind({ id }: OpenSection, length: number): Promise<boolean> {
    if (this.#written === false) return true;
    const { reader } = this.#frame;
    if (reader.size !== undefined && length > reader.size - reader.position) return false;
    const ready = reader.need(length + FOOTER);
    if (ready !== true && !(await ready)) return this.#written === undefined && reader.available >= length;
    const footer = viewOf(reader.peek(length + FOOTER).subarray(length));
    return footer.getUint8(0) === SECTION.footer && sectionId.read(footer, 1, ORDER).id === id;
  }

  /** Bytes up to the end of a section of unknown length; stops the walk when nothing shows it. */
  async search({ id, name, offset }: OpenSection): Promise<number> {
    const frame = this.#frame;
    let length = this.#written === false ? undefined : await findFooter(frame.reader, id);
    if (length === undefined && this.#written !== true) {
      length = await findNextHead(frame.reader, id);
      if (length !== undefined)
        frame.report(
          QEMU_MIGRATION_RULES.foundByNextHead,
          offset,
          `'${name}' ends where the next section begins`,
        );
    }
    return (
      length ??
      frame.fatal(QEMU_MIGRATION_RULES.unknownLength, offset, `the end of section '${name}' can't be found`)
    );
  }

  /** Reads the footer of a section, where footers are written. */
  async read({ id, name }: OpenSection): Promise<void> {
    const frame = this.#frame;
    if (this.#written === false) return;
    const ready = frame.reader.need(1);
    if (ready !== true && !(await ready)) frame.truncated("a footer", FOOTER);
    const isFooter = frame.reader.peek(1)[0] === SECTION.footer;
    if (this.#written === undefined) {
      this.#written = isFooter;
      if (!isFooter) return;
    }
    if (!isFooter)
      frame.fatal(
        QEMU_MIGRATION_RULES.footerMissing,
        frame.position,
        `section ${id} '${name}' ends without footer`,
      );
    await frame.need(FOOTER, "a footer");
    const found = sectionId.read(frame.reader.view, frame.reader.at + 1, ORDER).id;
    if (found !== id)
      frame.fatal(
        QEMU_MIGRATION_RULES.footerId,
        frame.position,
        `a footer of section ${found} ends section ${id}`,
      );
    frame.reader.take(FOOTER);
  }
}
