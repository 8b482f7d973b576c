import { LIBVIRT_LIBXL_MAGIC, XAPI_MAGIC } from "./layout.js";

/** Whether the bytes at the start of an input are the magic of an XAPI suspend image. */
export function isXapi(head: Uint8Array): boolean {
  return startsWith(head, XAPI_MAGIC);
}

/** Whether the bytes at the start of an input are the magic of a save file of libvirt's libxl driver. */
export function isLibvirtLibxl(head: Uint8Array): boolean {
  return startsWith(head, LIBVIRT_LIBXL_MAGIC);
}

function startsWith(head: Uint8Array, magic: Uint8Array): boolean {
  return head.length >= magic.length && magic.every((byte, i) => head[i] === byte);
}
