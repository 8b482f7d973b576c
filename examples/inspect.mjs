// Says what a saved guest is: node examples/inspect.mjs FILE
import { inspect } from "guestscope";
import { openFile } from "guestscope/node";

const found = await inspect(openFile(process.argv[2]));
console.log(found.origin, found.guest?.name ?? "(no name)", found.vcpus?.length ?? 0, "vCPUs");
// `kind` tells the type of `details`
if (found.kind === "kdump") console.log("dump level", found.details.dumpLevel);
