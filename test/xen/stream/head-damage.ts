import { expect } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { domainHeader, imageHeader, recordHeader } from "../../../src/xen/libxc/layout.js";
import { libxlHeader } from "../../../src/xen/libxl/layout.js";
import { xlHeader } from "../../../src/xen/xl/layout.js";
import { expectRescue, randoms } from "../../guest/damage-oracle.js";
import { knownStream } from "./known-stream.js";
import { makeStream, type Shape } from "./stream-maker.js";

const WRAP = libxlHeader.size + recordHeader.size;
const KINDS = ["zeros", "ones", "noise"] as const;

export interface Part {
  readonly name: string;
  readonly start: number;
  readonly size: number;
}

/** Every header of a stream and every field of them, and all of them together. */
export function headParts(shape: Shape): Part[] {
  const { layer } = shape;
  const bytes = Buffer.from(makeStream(shape));
  const image = bytes.indexOf("XENF") - 8;
  const first = image + imageHeader.size + domainHeader.size;
  const headers = [
    { layout: imageHeader, start: image },
    { layout: domainHeader, start: image + imageHeader.size },
    ...(layer === "libxc"
      ? []
      : [
          { layout: libxlHeader, start: image - WRAP },
          { layout: recordHeader, start: image - recordHeader.size },
        ]),
    ...(layer === "xl" ? [{ layout: xlHeader, start: 0 }] : []),
  ];
  return [
    ...headers.flatMap(({ layout, start }) => [
      { name: layout.name, start, size: layout.size },
      ...layout.fields.map(({ name, offset, size }) => ({
        name: `${layout.name}: ${name}`,
        start: start + offset,
        size,
      })),
    ]),
    { name: "all headers", start: 0, size: first },
    { name: "all headers and the first records", start: 0, size: first + 40 },
  ];
}

export const SHAPES: readonly Shape[] = [
  { guest: "hvm", version: 3, layer: "xl", order: "little" },
  { guest: "pv", version: 2, layer: "libxl", order: "little", width: 4 },
  { guest: "hvm", version: 2, layer: "libxl", order: "little" },
  { guest: "hvm", version: 3, layer: "libxc", order: "little" },
  { guest: "pv", version: 3, layer: "xl", order: "little", width: 8 },
  { guest: "pv", version: 3, layer: "libxc", order: "little", width: 8 },
  { guest: "hvm", version: 3, layer: "libxl", order: "big" },
];

/** Damages a part of a made stream's head in every way: its pages and what its records show of the guest must be there. */
export async function expectHeadRescue(shape: Shape, { start, size }: Part): Promise<void> {
  const bytes = Buffer.from(makeStream({ ...shape, pages: 9 }));
  const file = await knownStream(bytes);
  const options = { partial: true, findKernel: false };
  const whole = await openGuest(bytesSource(bytes, "whole"), options);
  for (const kind of KINDS) {
    await expectRescue(file, kind, start, size, randoms(start + size));
    const damaged = Buffer.from(bytes).fill(kind === "zeros" ? 0 : 0xff, start, start + size);
    const guest = await openGuest(bytesSource(damaged, "damaged"), options);
    expect(guest.facts.guestType).toBe(whole.facts.guestType);
    expect(guest.vcpus.length).toBe(whole.vcpus.length);
    expect(guest.arch.name).toBe(whole.arch.name);
  }
}
