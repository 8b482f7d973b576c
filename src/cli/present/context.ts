import { dotted } from "../../guest/hex-rows.js";
import type { Hit } from "../../guest/search.js";
import type { PageOwner } from "../../linux/page-owner.js";
import { printable } from "../kernel-input.js";
import { hex } from "../terminal.js";

/** What is around a hit as text, two-byte characters as one where the hit is such. */
export function contextText({ kind, context, contextStart }: Hit): string {
  if (kind !== "utf-16le") return dotted(context);
  const even = context.subarray(contextStart % 2);
  return dotted(
    Uint8Array.from({ length: even.length >> 1 }, (_, i) => (even[2 * i + 1] === 0 ? (even[2 * i] ?? 0) : 0)),
  );
}

/** `412 nginx /usr/sbin/nginx`, `linux_banner+0x4/0xb0`. */
export function ownerText({ address, symbol, pid, comm, mapping }: PageOwner): string {
  if (symbol !== undefined) return symbol;
  if (pid === undefined) return `kernel ${hex(address)}`;
  return `pid ${pid} ${printable(comm ?? "")} ${hex(address)}${mapping === undefined ? "" : ` ${printable(mapping)}`}`;
}
