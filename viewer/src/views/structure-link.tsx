import type { JSX } from "preact";
import { hex } from "../format.js";
import { printRoute, route } from "../state/route.js";

/** An address of the kernel as a link to the structure that is there. */
export function structureLink(name: string, address: bigint): JSX.Element {
  const params = { tab: "structures", type: name, at: hex(address) };
  return (
    <a href={printRoute({ file: route.value.file, view: "linux", params })}>
      <code>{hex(address)}</code>
    </a>
  );
}

/** An address as a link to the bytes there. @param space of addresses: `kernel`, `pid:17` */
export function bytesLink(space: string, address: bigint): JSX.Element {
  const params = { space, at: hex(address) };
  return (
    <a href={printRoute({ file: route.value.file, view: "hex", params })}>
      <code>{hex(address)}</code>
    </a>
  );
}
