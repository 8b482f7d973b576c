import type { LegacyChunk } from "./chunks.js";
import { areFrames } from "./head-fields.js";
import { TYPE } from "./layout.js";
import { PfnSet } from "./pfn-set.js";

/** Whether a PV guest's list of p2m frames names pages that may hold its p2m table, by the chunks that follow it. */
export class FrameCheck {
  readonly #normal = new PfnSet();
  #frames: Uint32Array | undefined;
  #p2mSize = 0;

  /** Takes the chunks of a stream in order. */
  take(chunk: LegacyChunk): void {
    if (chunk.kind === "header") this.#p2mSize = chunk.p2mSize;
    else if (chunk.kind === "pv-info") this.#frames = chunk.p2mFrames;
    else if (chunk.kind === "pages" && this.#frames !== undefined)
      for (const entry of chunk.entries) if (entry >>> 28 === TYPE.normal) this.#normal.add(entry);
  }

  /** Whether each frame may be one; true where there is no list. */
  areNormal(): boolean {
    return (
      this.#frames === undefined || areFrames(this.#frames, this.#p2mSize, (pfn) => this.#normal.has(pfn))
    );
  }
}
