import { isCapable, showStatus, size } from "./terminal.js";

const INTERVAL_MS = 100;
const BAR_WIDTH = 24;

/** A progress line on standard error, only on a terminal, at most ten times a second. */
export class Progress {
  readonly #enabled: boolean;
  readonly #began = performance.now();
  #last = 0;
  #shown = false;

  constructor(enabled: boolean) {
    this.#enabled = enabled && isCapable(process.stderr);
  }

  /** Ready to pass on as a callback. */
  readonly update = (done: number, total: number | undefined, phase = ""): void => {
    if (!this.#enabled) return;
    const now = performance.now();
    if (now - this.#last < INTERVAL_MS) return;
    this.#last = now;
    const seconds = (now - this.#began) / 1000;
    const rate = seconds > 0 ? done / seconds : 0;
    const share = total === undefined || total === 0 ? undefined : Math.min(1, done / total);
    const bar =
      share === undefined
        ? ""
        : `[${"#".repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, ".")}] ${Math.floor(share * 100)}% `;
    const left =
      share === undefined || rate === 0 || total === undefined
        ? ""
        : `, ${Math.ceil((total - done) / rate)} s left`;
    showStatus(`${phase === "" ? "" : `${phase} `}${bar}${size(done)} at ${size(rate)}/s${left}`);
    this.#shown = true;
  };

  done(): void {
    if (this.#shown) showStatus("");
    this.#shown = false;
  }
}
