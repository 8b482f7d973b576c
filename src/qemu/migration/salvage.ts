import { FormatError } from "../../findings/errors.js";
import type { LostPart } from "../../guest/salvage.js";
import { ByteReader } from "../../io/byte-reader.js";
import type { ByteSource } from "../../io/byte-source.js";
import type { SectionInfo } from "./devices/section.js";
import type { Frame } from "./frame.js";
import { DEFAULT_PAGE_SIZE } from "./layout.js";
import type { RamReader } from "./ram/records.js";
import { QEMU_MIGRATION_RULES } from "./rules.js";
import { type LastRecord, type RamResumption, RamResync } from "./ram/resume.js";

/** Lost parts of one stream. */
const MOST_PARTS = 10_000;
/** Joints that may turn out to be none: data of another place of the stream that was written into it. */
const MOST_UNDONE = 8;
const WINDOW = 256 << 10;
/** Bytes of a footer. */
const FOOTER = 5;

/** The walk over a stream that is damaged, as far as reading on needs it. */
export interface DamagedWalk {
  ram(): RamReader | undefined;
  ramSection(): SectionInfo | undefined;
  /** Where the section at hand begins. */
  sectionAt(): number;
  /** Reads what ends a part of RAM. */
  endOfPart(section: SectionInfo): Promise<void>;
}

/** Reads on after damage in a stream: finds where records or sections go on, and puts the walk there. */
export class StreamSalvage {
  readonly lost: LostPart[] = [];
  readonly #input: ByteSource;
  readonly #frame: Frame;
  readonly #walk: DamagedWalk;
  #resync: RamResync | undefined;
  #blocks = 0;
  /** What was before each lost part, and the first page after it; the latest first. */
  readonly #joints: (LastRecord & { from?: number })[] = [];

  constructor(input: ByteSource, frame: Frame, walk: DamagedWalk) {
    this.#input = input;
    this.#frame = frame;
    this.#walk = walk;
  }

  /** Passes over what can't be read because of `error`. @returns true: a section's head follows @throws FormatError when nothing does */
  async readOn(error: FormatError): Promise<boolean> {
    for (let problem = error; ; ) {
      if (this.lost.length === MOST_PARTS) throw problem;
      const ram = this.#walk.ram();
      const section = this.#walk.ramSection();
      const sectionAt = this.#walk.sectionAt();
      const last = ram?.last;
      const inRam = ram !== undefined && section !== undefined && !section.ended;
      const offset = inRam && last !== undefined ? Math.max(last.offset, sectionAt) : sectionAt;
      const start = Math.max(offset, this.lost.at(-1)?.end ?? 0);
      if (last !== undefined) this.#joints.unshift({ ...last, offset: start });
      const found = await this.#finder(ram, section).resume(
        start + 1,
        inRam,
        this.#joints.slice(0, MOST_UNDONE),
      );
      // a record that the input ends within proves the one before
      const isCut = found === undefined && problem.rule === QEMU_MIGRATION_RULES.truncated;
      const before = inRam && !isCut ? ram.loseNext() : undefined;
      if (found === undefined) throw problem;
      const frame = this.#frame;
      frame.diagnostics.report(problem.rule, { offset: start, record: frame.record }, problem.message);
      const isSections = found.state === "sections";
      const end = isSections ? found.at + FOOTER : found.at;
      const what =
        found.address < 0 || found.block !== undefined
          ? {}
          : { what: "which block the records after it are of can't be told" };
      const doubt = before === undefined ? {} : { doubtfulFrom: before };
      this.lost.push({ start, end, proof: found.proof, ...what, ...doubt });
      frame.reader = new ByteReader(this.#input, { start: end, window: WINDOW });
      if (ram === undefined || section === undefined) return true;
      if (inRam) this.#join(ram, found, end - start);
      if (isSections) return true;
      try {
        await ram.readRecords();
        await this.#walk.endOfPart(section);
        return true;
      } catch (next) {
        if (!(next instanceof FormatError)) throw next;
        problem = next;
      }
    }
  }

  /** Puts the walk over memory where it goes on after so many lost bytes. */
  #join(ram: RamReader, { address, block, undone }: RamResumption, bytes: number): void {
    if (undone > 0) {
      const from = this.#joints[undone]?.from;
      if (from !== undefined) ram.undo(from);
      this.#joints.splice(0, undone);
    }
    const joint = this.#joints[0];
    if (joint !== undefined && block !== undefined) joint.from = block.firstFrame + address / ram.pageSize;
    ram.resume(block, address, bytes);
  }

  #finder(ram: RamReader | undefined, section: SectionInfo | undefined): RamResync {
    const blocks = ram?.blocks ?? [];
    if (this.#resync === undefined || this.#blocks !== blocks.length)
      this.#resync = new RamResync(this.#input, blocks, ram?.pageSize ?? DEFAULT_PAGE_SIZE, section?.id);
    this.#blocks = blocks.length;
    return this.#resync;
  }
}
