/** Where the platform has it: after whatever waits in the event loop, without a timer's delay. */
const { setImmediate } = globalThis as { setImmediate?: (done: () => void) => unknown };

const waiting: (() => void)[] = [];
let channel: MessageChannel | undefined;

/** Browsers hold timers that follow one another up for 4 ms each; a message to oneself comes at once. */
function nextMessage(done: () => void): void {
  if (channel === undefined) {
    channel = new MessageChannel();
    channel.port1.addEventListener("message", () => waiting.shift()?.());
    channel.port1.start();
  }
  waiting.push(done);
  channel.port2.postMessage(undefined);
}

/**
 * Lets the event loop turn: signals, timers, a page that wants to be drawn. Work whose every answer is there at once
 * would hold them up until its end.
 */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    if (setImmediate === undefined) nextMessage(resolve);
    else setImmediate(resolve);
  });
}
