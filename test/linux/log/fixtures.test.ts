import * as fs from "node:fs";
import * as zlib from "node:zlib";
import { describe, expect, it } from "vitest";
import { formatLogRecord } from "../../../src/linux/log/format.js";
import { logSourceOf } from "../../../src/linux/log/kernel-log.js";
import { readLog } from "../../../src/linux/log/read.js";
import { fixturePath, GUESTS, openFixture } from "../fixture.js";

describe("kernel logs of guests cut down", () => {
  it.each(GUESTS)("%s: every line is makedumpfile's", async (name) => {
    const guest = await openFixture(name);
    try {
      const lines: string[] = [];
      for await (const record of readLog(await logSourceOf(guest), (rule, message) => {
        throw new Error(`${rule.code}: ${message}`);
      }))
        lines.push(...(formatLogRecord(record)?.split("\n") ?? []));
      const truth = zlib.gunzipSync(fs.readFileSync(fixturePath(`${name}.dmesg.txt.gz`))).toString("utf8");
      expect(lines).toEqual(truth.trimEnd().split("\n"));
    } finally {
      await guest.close?.();
    }
  });
});
