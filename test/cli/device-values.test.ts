import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareDevices, type DeviceValues, deviceValues } from "../../src/cli/device-values.js";
import type { ValueDifference } from "../../src/guest/compare.js";
import type { GuestInspection } from "../../src/guest/inspection.js";

const valuesOf = (fields: unknown): DeviceValues | undefined =>
  deviceValues({
    details: { devices: [{ name: "nic", instance: 0, fields, subsections: [{ name: "more", fields }] }] },
  } as unknown as GuestInspection);

function compare(first: unknown, second: unknown): ValueDifference[] {
  const [one, other] = [valuesOf(first), valuesOf(second)];
  if (one === undefined || other === undefined) throw new Error("no devices");
  return compareDevices(one, other);
}

describe("fields of devices", () => {
  it("those of a list that differ are named by their number", () => {
    const registers = Array.from({ length: 32_768 }, (_, i) => i);
    const other = registers.with(5, 0).slice(0, -1);
    expect(compare([{ name: "mac_reg", value: registers }], [{ name: "mac_reg", value: other }])).toEqual(
      ["nic/0", "nic/0.more"].flatMap((device) => [
        { name: `${device}.mac_reg.5`, first: "5", second: "0" },
        { name: `${device}.mac_reg.32767`, first: "32767", second: undefined },
      ]),
    );
  });

  it("structures within are walked, and a list that only one has is named item by item", () => {
    const inner = { fields: [{ name: "ring", value: [1, 2] }] };
    const differences = compare(
      [{ name: "queue", value: inner }],
      [{ name: "queue", value: { fields: [] } }],
    );
    expect(differences.map(({ name, first, second }) => [name, first, second])).toEqual(
      ["nic/0.queue", "nic/0.more.queue"].flatMap((at) => [
        [`${at}.ring.0`, "1", undefined],
        [`${at}.ring.1`, "2", undefined],
      ]),
    );
  });

  it("equal ones have no differences; every item that differs is one", () => {
    const lists = fc.array(fc.oneof(fc.integer(), fc.boolean()), { minLength: 1 });
    fc.assert(
      fc.property(lists, lists, (one, other) => {
        const differences = compare([{ name: "a", value: one }], [{ name: "a", value: other }]);
        const length = Math.max(one.length, other.length);
        const expected = Array.from({ length }, (_, i) => i).filter((i) => one[i] !== other[i]);
        expect(differences.map(({ name }) => name)).toEqual(
          ["nic/0", "nic/0.more"].flatMap((at) => expected.map((i) => `${at}.a.${i}`)),
        );
      }),
    );
  });
});
