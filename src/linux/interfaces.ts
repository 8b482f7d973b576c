import { hexText } from "../binary/text.js";
import { AbsentError } from "../findings/errors.js";
import type { Kernel } from "./kernel.js";
import { listEntries, MOST_ENTRIES, Visited } from "./lists.js";
import type { KernelObject } from "./object.js";
import { readUpTo } from "./read.js";
import { LINUX_RULES } from "./rules.js";

/** A network namespace. */
export interface NetworkNamespace {
  /** Address of its struct net. */
  readonly address: bigint;
  /** The number that /proc/PID/ns/net shows. */
  readonly inode: number;
  readonly interfaces: readonly NetworkInterface[];
}

/** A network interface. */
export interface NetworkInterface {
  readonly name: string;
  readonly index: number;
  /** Bytes. */
  readonly mtu: number;
  /** IFF_… */
  readonly flags: number;
  readonly up: boolean;
  /** `52:54:00:12:34:56`; empty when it has none. */
  readonly hardwareAddress: string;
  /** `192.0.2.1/24`, `fe80::1/64`. */
  readonly addresses: readonly string[];
  /** Address of its struct net_device. */
  readonly address: bigint;
}

const UP = 1;
const LONGEST_HARDWARE_ADDRESS = 32;

/**
 * Network namespaces with their interfaces, the first one first. What can't be read is noted and left out.
 *
 * @throws AbsentError when symbols or types are missing.
 */
export async function* networkNamespaces(kernel: Kernel): AsyncGenerator<NetworkNamespace> {
  const head = kernel.needSymbol("net_namespace_list");
  for await (const address of listEntries(kernel, head, "net", "list")) {
    const net = await kernel.tryLoad("net", address);
    if (net === undefined) continue;
    const interfaces: NetworkInterface[] = [];
    for await (const device of listEntries(
      kernel,
      net.addressOf("dev_base_head"),
      "net_device",
      "dev_list",
    )) {
      const loaded = await kernel.tryLoad("net_device", device);
      if (loaded !== undefined) interfaces.push(await describe(kernel, loaded));
    }
    yield { address, inode: net.number("ns.inum"), interfaces };
  }
}

async function describe(kernel: Kernel, device: KernelObject): Promise<NetworkInterface> {
  const flags = device.number("flags");
  return {
    name: device.text("name"),
    index: device.number("ifindex"),
    mtu: device.number("mtu"),
    flags,
    up: (flags & UP) !== 0,
    hardwareAddress: await hardwareAddress(kernel, device),
    addresses: [
      ...(await noted(kernel, device, "IPv4", v4Addresses)),
      ...(await noted(kernel, device, "IPv6", v6Addresses)),
    ],
    address: device.address,
  };
}

async function noted(
  kernel: Kernel,
  device: KernelObject,
  what: string,
  read: (kernel: Kernel, device: KernelObject) => Promise<string[]>,
): Promise<string[]> {
  try {
    return await read(kernel, device);
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    kernel.note(
      LINUX_RULES.memory,
      `${what} addresses of ${device.text("name")} are missing: ${error.message}`,
    );
    return [];
  }
}

async function hardwareAddress(kernel: Kernel, device: KernelObject): Promise<string> {
  const length = Math.min(device.number("addr_len"), LONGEST_HARDWARE_ADDRESS);
  const bytes = await readUpTo(kernel.space, device.pointer("dev_addr"), length);
  return hexText(bytes, ":");
}

async function v4Addresses(kernel: Kernel, device: KernelObject): Promise<string[]> {
  if (device.pointer("ip_ptr") === 0n) return [];
  const part = await device.follow("ip_ptr");
  const found: string[] = [];
  const visited = new Visited(kernel);
  for (let at = part.pointer("ifa_list"); at !== 0n; ) {
    if (!(await visited.enter(at)) || visited.size > MOST_ENTRIES) {
      kernel.note(LINUX_RULES.badStructure, `the IPv4 addresses of ${device.text("name")} run in a loop`);
      break;
    }
    const address = await kernel.load("in_ifaddr", at);
    found.push(`${printV4(address.bytes("ifa_local"))}/${address.number("ifa_prefixlen")}`);
    at = address.pointer("ifa_next");
  }
  return found;
}

async function v6Addresses(kernel: Kernel, device: KernelObject): Promise<string[]> {
  if (!device.has("ip6_ptr") || device.pointer("ip6_ptr") === 0n || !kernel.hasStruct("inet6_ifaddr"))
    return [];
  const part = await device.follow("ip6_ptr");
  const found: string[] = [];
  for await (const at of listEntries(kernel, part.addressOf("addr_list"), "inet6_ifaddr", "if_list")) {
    const address = await kernel.load("inet6_ifaddr", at);
    found.push(`${printV6(address.bytes("addr"))}/${address.number("prefix_len")}`);
  }
  return found;
}

/** `192.0.2.1` */
export function printV4(bytes: Uint8Array): string {
  return bytes.subarray(0, 4).join(".");
}

/** An IPv6 address as RFC 5952 writes it: the longest run of zero groups as `::`. */
export function printV6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0));
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i += 1) {
    let end = i;
    while (end < 8 && groups[end] === 0) end += 1;
    if (end - i > length) {
      start = i;
      length = end - i;
    }
  }
  const text = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  return start === -1 ? text(0, 8) : `${text(0, start)}::${text(start + length, 8)}`;
}
