import { appendTo } from "../binary/arrays.js";
import { compareValues, flatten, type ValueDifference } from "../guest/compare.js";
import type { GuestInspection } from "../guest/inspection.js";

/** Fields of QEMU's devices by name, as `e1000/0.mac_reg`. */
export interface DeviceValues {
  readonly values: ReadonlyMap<string, string>;
  /** Lists of numbers as they are: a network card has one of 32,768. */
  readonly lists: ReadonlyMap<string, readonly unknown[]>;
}

const DEEPEST = 12;

/** The fields of QEMU's devices in an inspection; undefined for inputs that hold none. */
export function deviceValues({ details }: GuestInspection): DeviceValues | undefined {
  const { devices } = details as { devices?: unknown };
  if (!Array.isArray(devices) || devices.length === 0) return undefined;
  const values = new Map<string, string>();
  const lists = new Map<string, readonly unknown[]>();
  const walk = (fields: unknown, prefix: string, depth: number): void => {
    if (!Array.isArray(fields) || depth > DEEPEST) return;
    for (const { name, value } of fields as Record<string, unknown>[]) {
      const inner = `${prefix}.${String(name)}`;
      if (typeof value === "object" && value !== null && "fields" in value)
        walk(value.fields, inner, depth + 1);
      else if (isList(value)) lists.set(inner, value);
      else flatten(value, inner, values);
    }
  };
  for (const device of devices as Record<string, unknown>[]) {
    const { name, instance, fields, subsections } = device;
    const key = `${String(name)}/${String(instance)}`;
    walk(fields, key, 0);
    if (Array.isArray(subsections))
      for (const sub of subsections as Record<string, unknown>[])
        walk(sub.fields, `${key}.${String(sub.name)}`, 1);
  }
  return { values, lists };
}

const isList = (value: unknown): value is readonly unknown[] =>
  Array.isArray(value) && value.every((item) => typeof item !== "object");

/** Fields that differ, those of lists by their number in it: `e1000/0.mac_reg.5`. */
export function compareDevices(first: DeviceValues, second: DeviceValues): ValueDifference[] {
  const differences = compareValues(first.values, second.values);
  for (const name of new Set([...first.lists.keys(), ...second.lists.keys()])) {
    const [one, other] = [first.lists.get(name), second.lists.get(name)];
    if (one?.length === other?.length && one?.every((item, i) => item === other?.[i]) === true) continue;
    const flat = [one, other].map((list) => {
      const into = new Map<string, string>();
      flatten(list, name, into);
      return into;
    });
    appendTo(differences, compareValues(flat[0] ?? new Map(), flat[1] ?? new Map()));
  }
  return differences;
}
