/** Where the platform has it: after whatever waits in the event loop, without a timer's delay. */
const { setImmediate } = globalThis as { setImmediate?: (done: () => void) => unknown };

/**
 * Lets the event loop turn: signals, timers, a page that wants to be drawn. Work whose every answer is there at once
 * would hold them up until its end.
 */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    if (setImmediate === undefined) setTimeout(resolve, 0);
    else setImmediate(resolve);
  });
}
