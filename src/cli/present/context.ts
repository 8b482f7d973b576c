import { dotted } from "../../guest/hex-rows.js";
import type { Hit } from "../../guest/search.js";
import type { PageOwner } from "../../linux/pages/page-owner.js";
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

/** Whose a byte is, in one line: `slab dentry, object 3+0x40`, `pid 412 nginx 0x55d0c8a1 /usr/sbin/nginx`. */
export function ownerText(owner: PageOwner): string {
  const { kind, address, symbol, cpu, pid, comm, offset = 0 } = owner;
  const at = address === undefined ? "" : ` ${hex(address)}`;
  switch (kind) {
    case "kernel":
      return symbol ?? `kernel${at}`;
    case "per-cpu":
      return `CPU ${cpu ?? 0}: ${symbol ?? `per-CPU memory+${hex(offset)}`}`;
    case "stack":
      return `kernel stack of pid ${pid ?? 0} ${printable(comm ?? "")}+${hex(offset)}`;
    case "slab":
      return slabText(owner);
    case "file":
      return `${pid === undefined ? "" : `${processText(owner)}, `}page cache ${fileText(owner)}`;
    case "process":
      return processText(owner);
    case "vmalloc":
      return `vmalloc${at}${symbol === undefined ? "" : ` by ${symbol}`}`;
    case "page-table":
      return "page table";
    case "anonymous":
      return "anonymous memory";
    case "free":
      return "free page";
    case "reserved":
      return "reserved memory";
  }
}

function processText({ address, pid, comm, mapping }: PageOwner): string {
  const at = address === undefined ? "" : ` ${hex(address)}`;
  return `pid ${pid ?? 0} ${printable(comm ?? "")}${at}${mapping === undefined ? "" : ` ${printable(mapping)}`}`;
}

function slabText({ slab }: PageOwner): string {
  if (slab === undefined) return "slab";
  const { cache, object, offset } = slab;
  const where =
    object === undefined ? `outside of objects, ${hex(offset)}` : `object ${object}+${hex(offset)}`;
  return `slab ${printable(cache)}, ${where}`;
}

function fileText({ file, offset = 0, mapping }: PageOwner): string {
  // said already
  if (file === undefined || (mapping !== undefined && file.path === mapping)) return `+${hex(offset)}`;
  const { path, inode, fileSystem, device } = file;
  const name =
    path ??
    (fileSystem === "bdev" ? `of block device ${device}` : `of inode ${inode}, ${fileSystem} on ${device}`);
  return `${printable(name)}+${hex(offset)}`;
}
