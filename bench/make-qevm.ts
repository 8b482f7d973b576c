import * as fs from "node:fs";
import { encodeDelta, pcDevices, QevmWriter } from "../test/qemu/migration/qevm-writer.js";

const PAGE = 4096;
const MIB = 1 << 20;
const GIB = 1 << 30;

/** Bytes that no page-wise code takes for zeros; a new page each time. */
function freshPage(page: Uint8Array, number: number): Uint8Array {
  const words = new Uint32Array(page.buffer, page.byteOffset, PAGE / 4);
  let seed = (number * 2654435761) >>> 0 || 1;
  for (let i = 0; i < words.length; i += 1) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    words[i] = seed;
  }
  return page;
}

/** Opens a file for a stream; `end` writes what is left and closes it. */
function openStream(file: string): { readonly writer: QevmWriter; readonly end: () => void } {
  const fd = fs.openSync(file, "w");
  const chunk = Buffer.alloc(4 * MIB);
  let filled = 0;
  const flush = (): void => {
    fs.writeSync(fd, chunk, 0, filled);
    filled = 0;
  };
  const writer = new QevmWriter((bytes) => {
    if (filled + bytes.length > chunk.length) flush();
    if (bytes.length > chunk.length) fs.writeSync(fd, bytes);
    else {
      chunk.set(bytes, filled);
      filled += bytes.length;
    }
  });
  return {
    writer,
    end: () => {
      flush();
      fs.closeSync(fd);
    },
  };
}

/** Devices of a pc machine with `size` bytes of RAM, and the end of the stream. */
function endMachine(writer: QevmWriter, size: number): void {
  const below = Math.min(size, 3 * GIB);
  pcDevices(writer, below, size - below);
  writer.end();
}

/** Writes a mapped-ram file of a pc machine with `size` bytes of RAM, all of them present. */
export function makeMappedRam(file: string, size: number): void {
  const { writer, end } = openStream(file);
  const page = new Uint8Array(PAGE);
  writer
    .header()
    .configuration("pc-i440fx-10.0", ["mapped-ram"])
    .startMappedRam({ name: "pc.ram", length: size }, () => {
      for (let at = 0; at < size; at += PAGE) writer.put(freshPage(page, at / PAGE));
    })
    .ram(true, () => undefined);
  endMachine(writer, size);
  end();
}

/**
 * Writes a stream of a pc machine with `size` bytes of RAM, all of them plain pages; with `rounds`, every page
 * is sent again that often as a difference of a few dozen bytes.
 */
export function makeQevm(file: string, size: number, rounds = 0): void {
  const { writer, end } = openStream(file);
  writer
    .header()
    .configuration("pc-i440fx-10.0")
    .startRam([{ name: "pc.ram", length: size }]);
  const page = new Uint8Array(PAGE);
  writer.ram(rounds === 0, () => {
    for (let at = 0; at < size; at += PAGE) writer.plain("pc.ram", at, freshPage(page, at / PAGE));
  });
  for (let round = 1; round <= rounds; round += 1) {
    const before = new Uint8Array(PAGE);
    const after = new Uint8Array(PAGE);
    for (let i = round * 3; i < PAGE; i += 97) after[i] = round;
    const difference = encodeDelta(before, after);
    writer.ram(round === rounds, () => {
      for (let at = 0; at < size; at += PAGE) writer.delta("pc.ram", at, difference);
    });
  }
  endMachine(writer, size);
  end();
}
