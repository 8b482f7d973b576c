import { problemOf } from "./problem.js";
import type { Call, Reply } from "./protocol.js";
import type { Session } from "./session.js";

/** Milliseconds between two messages of progress. */
const INTERVAL = 80;

/**
 * Answers a call by messages: progress now and then, pieces as they come, and a result or an error at the end. Never
 * throws.
 * @param send hands a reply on; its promise resolves when the next may be made
 */
export async function answer(
  session: Session,
  { id, method, argument }: Call,
  send: (reply: Reply) => void | Promise<void>,
): Promise<void> {
  let last = 0;
  try {
    const result = await session.call(method, argument, {
      progress(done, total, phase) {
        const now = performance.now();
        if (now - last < INTERVAL) return;
        last = now;
        void send({ id, kind: "progress", done, phase, ...(total === undefined ? {} : { total }) });
      },
      async piece(bytes) {
        await send({ id, kind: "piece", bytes });
      },
    });
    await send({ id, kind: "result", result });
  } catch (error) {
    await send({ id, kind: "error", problem: problemOf(error) });
  }
}
