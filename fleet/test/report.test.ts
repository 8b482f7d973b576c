import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeSaves } from "../bench/saves.js";
import { filesIn, fleet, lacks, scratch } from "./harness.js";

const SMALL = 1 << 20;

let folder: string;
let saves: string;
let cleanup: () => void;
beforeEach(() => {
  ({ folder, cleanup } = scratch());
  saves = path.join(folder, "saves");
});
afterEach(() => cleanup());

describe("report", () => {
  const awkward = 'a "quoted", </script><b>=1+1 name.save';

  beforeEach(async () => {
    const [save = ""] = writeSaves(saves, 3, SMALL);
    fs.mkdirSync(path.dirname(path.join(saves, awkward)));
    fs.renameSync(save, path.join(saves, awkward));
    fs.writeFileSync(path.join(saves, "=junk"), "no saved guest");
    await fleet(["submit", "verify", "--local", "saves"], { cwd: folder });
  });

  it("comes as text and as one JSON document, with the exit status of the worst input", async () => {
    const text = await fleet(["report"], { cwd: folder });
    expect(text.status).toBe(1);
    expect(text.stdout).toContain("4 inputs: 3 good, 1 bad, 0 failed");
    const { stdout } = await fleet(["report", "--json"], { cwd: folder });
    expect(JSON.parse(stdout)).toMatchObject({
      kind: "fleet-report",
      inputs: 4,
      good: 3,
      bad: 1,
      codes: { "open/unknown": 1 },
    });
    expect((JSON.parse(stdout) as { results: unknown[] }).results.length).toBe(4);
  });

  it("comes as CSV that keeps odd names, and makes no formula of them", async () => {
    const { stdout } = await fleet(["report", "--format", "csv"], { cwd: folder });
    expect(stdout).toContain(`"${path.join(saves, awkward).replaceAll('"', '""')}",verify,good`);
    expect(stdout.split("\r\n").every((line) => !line.startsWith("="))).toBe(true);
  });

  it.skipIf(lacks("chromium"))(
    "comes as one HTML file with a bar, and a table that sorts and filters",
    async () => {
      const page = path.join(folder, "report.html");
      expect((await fleet(["report", "--format", "html", "-o", page], { cwd: folder })).status).toBe(1);
      expect((await fleet(["report", "--format", "html", "-o", page], { cwd: folder })).stderr).toContain(
        "exists already",
      );
      const html = fs.readFileSync(page, "utf8");
      expect(html).toContain('class="good" style="width:75.000%"');
      expect(html).not.toMatch(/(src|href)=/);
      const drive = `<script>
      const shown = () => [...document.querySelectorAll("#table tbody tr")].map((line) => line.cells[0].textContent);
      const log = [shown()];
      document.querySelector("#table th button").click(); log.push(shown());
      document.querySelector("#table th button").click(); log.push(shown());
      const text = document.getElementById("text"); text.value = "JUNK unknown"; text.dispatchEvent(new Event("input")); log.push(shown());
      text.value = ""; document.getElementById("status").value = "good"; text.dispatchEvent(new Event("input")); log.push(shown());
      document.body.dataset.log = encodeURIComponent(JSON.stringify(log));
    </script>`;
      const driven = path.join(folder, "driven.html");
      fs.writeFileSync(driven, html.replace("</body>", `${drive}</body>`));
      const flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        `--user-data-dir=${path.join(folder, "profile")}`,
        "--dump-dom",
      ];
      const dom = execFileSync("chromium", [...flags, pathToFileURL(driven).href], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
      const [first = [], up = [], down = [], junk = [], good = []] = JSON.parse(
        decodeURIComponent(/data-log="([^"]*)"/.exec(dom)?.[1] ?? ""),
      ) as string[][];
      const names = filesIn(saves)
        .filter((name) => !name.startsWith("."))
        .map((name) => path.join(saves, name))
        .sort();
      expect(first.toSorted()).toEqual(names);
      expect(first[0]).toBe(path.join(saves, "=junk"));
      expect(up).toEqual(names);
      expect(down).toEqual(names.toReversed());
      expect(junk).toEqual([path.join(saves, "=junk")]);
      expect(good.length).toBe(3);
    },
  );

  it("says so when there is nothing to report, or a result can't be read", async () => {
    const nothing = await fleet(["report", "nowhere"], { cwd: folder });
    expect([nothing.status, nothing.stderr]).toEqual([2, expect.stringContaining("no such file")]);
    const reports = path.join(folder, "guestscope-reports");
    const [name = ""] = filesIn(reports);
    fs.writeFileSync(path.join(reports, name), "{");
    const torn = await fleet(["report"], { cwd: folder });
    expect(torn.status).toBe(2);
    expect(torn.stderr).toContain("[fleet/result-unreadable]");
  });
});
