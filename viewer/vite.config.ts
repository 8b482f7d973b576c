import * as path from "node:path";
import { defineConfig, type Plugin } from "vite";
import { joinLicenses, licenseOf, manifestOf } from "../scripts/bundling.js";

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

const PACKAGE = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//;

/** Licences of the packages that are joined in. */
const licenses: Plugin = {
  name: "licenses",
  apply: "build",
  generateBundle() {
    const homes = new Map<string, string>();
    for (const id of this.getModuleIds()) {
      const [, home, name] = PACKAGE.exec(id) ?? [];
      if (home !== undefined && name !== undefined) homes.set(name, home);
    }
    const texts = Array.from(homes, ([name, home]) => {
      const { version, license } = manifestOf(home);
      const found = licenseOf(home);
      const text = found === undefined ? "" : `\n${found}\n`;
      return `${name} ${version}, ${license}\n${text}`;
    });
    this.emitFile({
      type: "asset",
      fileName: "LICENSES.txt",
      source: joinLicenses(texts.sort()),
    });
  },
};

export default defineConfig({
  root: import.meta.dirname,
  // works in any folder of any web server
  base: "./",
  plugins: [policy, licenses],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es", rolldownOptions: { checks: { ineffectiveDynamicImport: false } } },
  build: {
    outDir: path.resolve(import.meta.dirname, "../dist/viewer"),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rolldownOptions: { checks: { ineffectiveDynamicImport: false } },
  },
});
