// Writes any saved guest as a kdump: node examples/to-kdump.mjs FILE OUTPUT
import { openGuest } from "guestscope";
import { openFile, openOutput } from "guestscope/node";
import { createKdumpWriter } from "guestscope/vmcore";

const [file, output] = process.argv.slice(2);
const guest = await openGuest(openFile(file));
const sink = openOutput(output);
try {
  const { present, zero, absent } = await createKdumpWriter().write(guest, sink, { compress: "zlib" });
  sink.commit();
  console.log(`${present + zero} bytes of memory written, ${absent} were not in the input`);
} catch (error) {
  sink.abandon();
  throw error;
} finally {
  await guest.close?.();
}
