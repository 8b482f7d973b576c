import { afterEach, describe, expect, it, vi } from "vitest";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.resetModules();
});

describe("yieldToEventLoop", () => {
  it.each(["a platform with setImmediate", "a browser, without it"])(
    "lets what waits come first, in order, on %s",
    async (platform) => {
      if (platform.startsWith("a browser")) vi.stubGlobal("setImmediate", undefined);
      vi.resetModules();
      const { yieldToEventLoop } = await import("../../src/io/event-loop.js");
      const { port1, port2 } = new MessageChannel();
      const heard: string[] = [];
      port1.addEventListener("message", ({ data }: MessageEvent<string>) => heard.push(data));
      port1.start();
      port2.postMessage("a message");
      await Promise.all([1, 2].map((n) => yieldToEventLoop().then(() => heard.push(`turn ${n}`))));
      for (let i = 0; i < 20 && heard.length < 3; i += 1) await yieldToEventLoop();
      expect(heard).toContain("a message");
      expect(heard.indexOf("turn 1")).toBeLessThan(heard.indexOf("turn 2"));
      port1.close();
    },
  );
});
