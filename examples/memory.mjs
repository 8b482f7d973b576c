// Prints guest-physical memory at an address: node examples/memory.mjs FILE ADDRESS
import { openGuest } from "guestscope";
import { openFile } from "guestscope/node";

const [file, address = "0x100000"] = process.argv.slice(2);
const guest = await openGuest(openFile(file));
const bytes = new Uint8Array(64);
const got = await guest.memory.read(Number(address), bytes); // fewer: the rest is absent
console.log(`${got} bytes at ${address}: ${Buffer.from(bytes.subarray(0, got)).toString("hex")}`);
await guest.close?.();
