import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { ehdr64, phdr64, PT_LOAD } from "../src/elf/layout.js";
import { coreHeader } from "./make-core-header.js";
import { compare, GUESTSCOPE, inMemory, recordPeak } from "./harness.js";

const PAGE = 4096;
const MIB = 1 << 20;
const GIB = 2 ** 30;
const SIZE = 2 * GIB;
const BLOCK = 64 * MIB;
const ROUNDS = 3;
const MEMORY_BAR = 150;
/** One page of so many differs in the second guest, a byte of each. */
const CHANGED_EVERY = 1000;
const NEEDLE = "not in there at all";

/** Code, tables and text of a program. */
const program = (): Uint8Array => fs.readFileSync(process.execPath).subarray(0, BLOCK);

/** An ELF vmcore of one range of RAM that holds a block again and again, and no kernel. */
function makeGuest(file: string, block: Uint8Array): void {
  const out = fs.openSync(file, "w");
  const head = Buffer.alloc(PAGE);
  head.set(coreHeader(1));
  head.set(
    phdr64.encode(
      {
        p_type: PT_LOAD,
        p_flags: 7,
        p_offset: PAGE,
        p_vaddr: 0n,
        p_paddr: 0n,
        p_filesz: SIZE,
        p_memsz: SIZE,
        p_align: 0n,
      },
      "little",
    ),
    ehdr64.size,
  );
  fs.writeSync(out, head);
  for (let at = 0; at < SIZE; at += block.length)
    fs.writeSync(out, block, 0, Math.min(block.length, SIZE - at));
  fs.closeSync(out);
}

/** Makes another guest of a copy: a byte of every so-many-th page. */
function change(file: string): void {
  const out = fs.openSync(file, "r+");
  const byte = Buffer.alloc(1);
  for (let at = PAGE; at < SIZE; at += CHANGED_EVERY * PAGE) {
    fs.readSync(out, byte, 0, 1, at + 100);
    byte[0] = (byte[0] ?? 0) ^ 1;
    fs.writeSync(out, byte, 0, 1, at + 100);
  }
  fs.closeSync(out);
}

/** A command that says "not found" or "different" by 1: that is what is measured. */
const saying1 = (command: string): string => `{ ${command}; [ $? = 1 ]; }`;

function peak(name: string, command: string): void {
  recordPeak({ name: `${name}: memory`, most: MEMORY_BAR }, `sh -c '${command} || [ $? = 1 ]'`);
}

/** What the report says of this bench, and programs that it compares with. */
export const title = "Guests of 2 GiB searched and compared, against the tools for plain files.";
export const peers = ["grep", "cmp"];

/** Looking at guests: memory by pattern, and what differs, each against the tool for plain files. */
export async function run(): Promise<void> {
  await inMemory(async (folder) => {
    const [first, second] = [path.join(folder, "first.elf"), path.join(folder, "second.elf")];
    makeGuest(second, randomBytes(BLOCK));
    compare({
      name: "search --count: text in 2 GiB of random bytes (ELF)",
      ours: saying1(`${GUESTSCOPE} search --count ${second} '${NEEDLE}'`),
      peer: saying1(`grep -c '${NEEDLE}' ${second}`),
      peerName: "grep -c",
      rounds: ROUNDS,
      bar: 0.9,
    });
    fs.rmSync(second);
    makeGuest(first, program());
    const search = `${GUESTSCOPE} search --count ${first}`;
    compare({
      name: "search --count: text in 2 GiB (ELF)",
      ours: saying1(`${search} '${NEEDLE}'`),
      peer: saying1(`grep -c '${NEEDLE}' ${first}`),
      peerName: "grep -c",
      rounds: ROUNDS,
      bar: 0.9,
    });
    compare({
      name: "search --count --hex: bytes in 2 GiB (ELF)",
      ours: saying1(`${search} --hex ${Buffer.from(NEEDLE).toString("hex")}`),
      peer: saying1(`grep -c '${NEEDLE}' ${first}`),
      peerName: "grep -c",
    });
    peak("search", `${search} "${NEEDLE}"`);
    fs.copyFileSync(first, second);
    const diff = `${GUESTSCOPE} diff -q ${first} ${second}`;
    compare({
      name: "diff: two equal guests of 2 GiB (ELF)",
      ours: diff,
      peer: `cmp ${first} ${second}`,
      peerName: "cmp",
      rounds: ROUNDS,
      bar: 0.8,
    });
    change(second);
    compare({
      name: `diff: a byte of every ${CHANGED_EVERY}th page differs`,
      ours: saying1(diff),
      // all of them, and to a pipe: cmp ends at the first, and does so whenever nobody reads what it prints
      peer: saying1(`cmp -l ${first} ${second} | cat`),
      peerName: "cmp -l",
      rounds: ROUNDS,
      bar: 0.8,
    });
    peak("diff", diff);
  });
}
