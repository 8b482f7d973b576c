// Checks a saved guest: node examples/verify.mjs FILE
import { verify } from "guestscope";
import { openInput } from "guestscope/node";

const { report, title } = await verify(openInput(process.argv[2]));
for (const { severity, offset, code, message } of report.findings)
  console.log(`${severity} at 0x${offset.toString(16)}: ${message} [${code}]`);
console.log(`${title ?? "unknown format"}: ${report.verdict}`);
process.exitCode = report.valid ? 0 : 1;
