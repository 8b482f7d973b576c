/** Milliseconds for which a file that was looked at counts as the same. */
const FRESH_MS = 1000;
/** Milliseconds that a question to a server may keep others waiting. */
const PATIENCE_MS = 2000;

/** Makes sure now and then that an open file is still the one that was opened. */
export class Freshness {
  /** Throws when the file changed or went away; none where that can't be known. */
  check: (() => Promise<void>) | undefined;
  #looked = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;

  /** @throws what `check` throws; it is asked again each second, and not waited for long */
  async ensure(): Promise<void> {
    const { check } = this;
    if (check === undefined || performance.now() - this.#looked < FRESH_MS) return;
    this.#looking ??= check()
      .then(() => {
        this.#looked = performance.now();
      })
      .finally(() => {
        this.#looking = undefined;
      });
    const enough = new Promise<void>((resolve) => {
      setTimeout(resolve, PATIENCE_MS);
    });
    await Promise.race([this.#looking, enough]);
  }
}
