import { isCapable, showStatus, size } from "./terminal.js";

/** Seconds between two updates. */
const INTERVAL = 0.1;
const BAR_WIDTH = 24;
/** Before that a rate says nothing of the time that is left. */
const SETTLED_S = 1;

/** A progress line on standard error, only on a terminal, at most ten times a second. */
export class Progress {
  readonly #enabled: boolean;
  /** Seconds since the program began. */
  readonly #began = process.uptime();
  #last = 0;
  #shown = false;

  constructor(enabled: boolean) {
    this.#enabled = enabled && isCapable(process.stderr);
  }

  /** Ready to pass on as a callback. */
  readonly update = (done: number, total: number | undefined, phase = ""): void => {
    if (!this.#enabled) return;
    const now = process.uptime();
    if (now - this.#last < INTERVAL) return;
    this.#last = now;
    const seconds = now - this.#began;
    const rate = seconds > 0 ? done / seconds : 0;
    const share = total === undefined || total === 0 ? undefined : Math.min(1, done / total);
    const bar =
      share === undefined
        ? ""
        : `[${"#".repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, ".")}] ${Math.floor(share * 100)}% `;
    const left =
      share === undefined || rate === 0 || total === undefined || seconds < SETTLED_S
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
