import * as fs from "node:fs";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { reportOf } from "../../../src/open/report/gather.js";
import { html, raw } from "../../../src/open/report/markup.js";
import { sourceInput } from "../../../src/open/session/input.js";
import { Session } from "../../../src/open/session/session.js";
import { fixtures } from "../../shared.js";

const demo = new Uint8Array(gunzipSync(fs.readFileSync(path.join(fixtures, "demo/web01.legacy.gz"))));
const report = async (bytes: Uint8Array, name: string): ReturnType<typeof reportOf> =>
  reportOf(new Session(() => sourceInput(bytesSource(bytes, name))), () => undefined);

describe("inspect --html", () => {
  it("writes one page of less than a megabyte, without script and without other files", async () => {
    const { page, whole } = await report(demo, "web01.legacy");
    expect(whole).toBe(true);
    expect(page.length).toBeLessThan(1 << 20);
    expect(page).not.toMatch(/<script|<link|<img|\bsrc=|\bhref=|url\(|@import/i);
    expect(page).toContain("default-src 'none'");
    expect(page).toContain("legacy-hvm64-remus-xl");
    expect(page).toContain("<svg");
  });

  it("shows names with markup as text", async () => {
    const { page } = await report(demo, "<img src=x onerror=alert(1)>");
    expect(page).not.toContain("<img");
    expect(page).toContain("&#60;img");
  });

  it("reports on a cut file what is left of it, and that it is not whole", async () => {
    const { page, whole } = await report(demo.subarray(0, 1_700_000), "cut");
    expect(whole).toBe(false);
    expect(page).toContain("errors");
  });
});

describe("markup", () => {
  it("escapes what is put into it, and only that", () => {
    expect(html`<p title="${'"<&'}">${["<", raw("<b>")]}</p>`.text).toBe(
      '<p title="&#34;&#60;&#38;">&#60;<b></p>',
    );
  });
});
