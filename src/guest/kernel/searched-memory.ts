import { FormatError } from "../../findings/errors.js";
import type { Architecture } from "../arch/architecture.js";
import type { GuestImage, VmcoreInfo } from "../image.js";
import type { MemoryPiece, MemoryRange, PhysicalMemory } from "../memory.js";
import { asSought, withFoundVmcoreInfo } from "./brought-vmcoreinfo.js";
import { pagesLikeVmcoreInfo, VmcoreInfoCandidates } from "./vmcoreinfo.js";
import { withKernelLayout } from "./with-kernel-layout.js";

/** A guest whose memory is searched while somebody reads all of it. */
export interface SearchedGuest {
  /** The guest to be read, from end to end, by `memory.pieces()`. */
  readonly guest: GuestImage;
  /** Ends the search, once: the guest with the VMCOREINFO that was met, if any was, and the layout of its kernel. */
  readonly end: () => Promise<GuestImage>;
}

/** The guest, whose VMCOREINFO isn't known, or in doubt, with memory that finds what findVmcoreInfo would, without a read of its own. */
export function searchedWhileRead(unsought: GuestImage): SearchedGuest {
  const guest = asSought(unsought);
  const memory = new SearchedMemory(guest.memory, guest.arch);
  const finish = async (): Promise<GuestImage> => {
    const { best, isDamaged } = memory.end();
    // what wasn't searched to its end proves nothing wrong
    return isDamaged ? guest : withKernelLayout(await withFoundVmcoreInfo(guest, best));
  };
  let found: Promise<GuestImage> | undefined;
  return { guest: { ...guest, memory }, end: () => (found ??= finish()) };
}

class SearchedMemory implements PhysicalMemory {
  readonly #memory: PhysicalMemory;
  readonly #order: Architecture["order"];
  readonly #candidates: VmcoreInfoCandidates;
  #isOver = false;
  #isDamaged = false;

  constructor(memory: PhysicalMemory, arch: Architecture) {
    this.#memory = memory;
    this.#order = arch.order;
    this.#candidates = new VmcoreInfoCandidates(memory, arch);
  }

  ranges(): Iterable<MemoryRange> {
    return this.#memory.ranges();
  }

  read(gpa: number, into: Uint8Array): ReturnType<PhysicalMemory["read"]> {
    return this.#memory.read(gpa, into);
  }

  async *pieces(start?: number, end?: number): AsyncIterable<MemoryPiece> {
    for await (const piece of this.#memory.pieces(start, end)) {
      if (piece.bytes !== undefined && !this.#isOver) await this.#search(piece.gpa, piece.bytes);
      yield piece;
    }
  }

  end(): { readonly best: VmcoreInfo | undefined; readonly isDamaged: boolean } {
    this.#isOver = true;
    return { best: this.#candidates.best, isDamaged: this.#isDamaged };
  }

  async #search(gpa: number, bytes: Uint8Array): Promise<void> {
    try {
      for (const page of pagesLikeVmcoreInfo(gpa, bytes, this.#order))
        if (await this.#candidates.consider(page)) {
          this.#isOver = true;
          return;
        }
    } catch (error) {
      // whoever reads the damaged page says so
      if (!(error instanceof FormatError)) throw error;
      this.#isOver = true;
      this.#isDamaged = true;
    }
  }
}
