import * as path from "node:path";
import { defineConfig, type Plugin } from "vite";

/** Addresses that the page may reach: its own, and files on servers the user names. No other source of anything. */
const POLICY = [
  "default-src 'self'",
  // WebAssembly codecs, one of which loads itself from a data: address
  "script-src 'self' 'wasm-unsafe-eval'",
  "connect-src 'self' https: data:",
  "img-src 'self' data: blob:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

const policy: Plugin = {
  name: "content-security-policy",
  apply: "build",
  transformIndexHtml: () => [
    {
      tag: "meta",
      attrs: { "http-equiv": "Content-Security-Policy", content: POLICY },
      injectTo: "head-prepend",
    },
  ],
};

export default defineConfig({
  root: import.meta.dirname,
  // works in any folder of any web server
  base: "./",
  plugins: [policy],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es" },
  build: {
    outDir: path.resolve(import.meta.dirname, "../dist/viewer"),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
});
