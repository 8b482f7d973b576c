// Prints where each vCPU was: node examples/registers.mjs FILE
import { openGuest } from "guestscope";
import { openFile } from "guestscope/node";

const guest = await openGuest(openFile(process.argv[2]));
for (const { id, registers } of guest.vcpus) {
  if (registers?.kind === "x86") console.log(id, `rip 0x${registers.general.rip.toString(16)}`);
  else console.log(id, registers?.pc === undefined ? "not known" : `pc 0x${registers.pc.toString(16)}`);
}
await guest.close?.();
