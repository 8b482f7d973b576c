import { type Browser, chromium } from "playwright-core";

/** Where Debian and others have it. */
export const CHROMIUM: string = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** Starts a Chromium without a window that asks nobody for anything by itself. */
export function startChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-default-apps",
      "--disable-extensions",
      "--disable-sync",
      "--no-first-run",
      "--font-render-hinting=none",
    ],
  });
}
