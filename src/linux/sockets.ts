import { AbsentError } from "../findings/errors.js";
import { printV4, printV6 } from "./interfaces.js";
import type { Kernel } from "./kernel.js";
import { decodeText, type KernelObject } from "./object.js";
import { fileAddresses } from "./open-files.js";
import { readUpTo } from "./read.js";
import { LINUX_RULES } from "./rules.js";
import { listTasks } from "./tasks.js";
import { tcpConnections } from "./tcp-connections.js";

/** A socket. */
export interface OpenSocket {
  /** `tcp`, `udp6`, `unix`, `netlink` …: the family and kind. */
  readonly protocol: string;
  /** `LISTEN`, `ESTABLISHED`; empty for kinds without states. */
  readonly state: string;
  /** `127.0.0.1:22`, `[::1]:22`, a path; empty when it has none. */
  readonly local: string;
  readonly remote: string;
  /** The number of `socket:[N]`; 0 for what no process ever had. */
  readonly inode: number;
  /** Number of its network namespace. */
  readonly namespace?: number;
  /** Who holds it: the same socket may be held by many. */
  readonly owners: readonly { readonly pid: number; readonly comm: string; readonly fd: number }[];
  /** Address of its struct sock, or of the smaller structure that a connection begins and ends with. */
  readonly address: bigint;
}

const UNIX = 1;
const INET = 2;
const INET6 = 10;
const NETLINK = 16;
const PACKET = 17;
/** Address families (Linux, include/linux/socket.h). */
const FAMILIES: ReadonlyMap<number, string> = new Map([
  [UNIX, "unix"],
  [NETLINK, "netlink"],
  [PACKET, "packet"],
  [29, "can"],
  [31, "bluetooth"],
  [38, "alg"],
  [40, "vsock"],
  [44, "xdp"],
]);
const PROTOCOLS: ReadonlyMap<number, string> = new Map([
  [1, "icmp"],
  [6, "tcp"],
  [17, "udp"],
  [58, "icmp6"],
  [132, "sctp"],
  [136, "udplite"],
  [262, "mptcp"],
]);
/** States (include/net/tcp_states.h), which unix sockets use too. */
const STATES = [
  "",
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT1",
  "FIN_WAIT2",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "CLOSING",
  "NEW_SYN_RECV",
];
const RAW = 3;

/**
 * Sockets that processes hold, in the order they are met, then TCP connections that nobody holds: not accepted yet, or
 * waiting for their end. The kernel's own sockets that listen are not among them. What can't be read is noted and left out.
 *
 * @throws AbsentError when symbols or types are missing.
 */
export async function openSockets(kernel: Kernel): Promise<readonly OpenSocket[]> {
  const operations = kernel.needSymbol("socket_file_ops");
  const found = new Map<bigint, OpenSocket & { readonly owners: OpenSocket["owners"][number][] }>();
  for await (const task of listTasks(kernel)) {
    try {
      for await (const { fd, file } of fileAddresses(kernel, task)) {
        const owner = { pid: task.pid, comm: task.comm, fd };
        const known = found.get(file);
        if (known !== undefined) {
          known.owners.push(owner);
          continue;
        }
        const object = await kernel.load("file", file);
        if (object.pointer("f_op") !== operations) continue;
        const socket = await describe(kernel, object);
        if (socket !== undefined) found.set(file, { ...socket, owners: [owner] });
      }
    } catch (error) {
      if (!(error instanceof AbsentError)) throw error;
      kernel.note(LINUX_RULES.memory, `sockets of process ${task.pid} may be missing: ${error.message}`);
    }
  }
  const held = [...found.values()];
  return [...held, ...(await unownedConnections(kernel, new Set(held.map(({ address }) => address))))];
}

async function unownedConnections(kernel: Kernel, held: ReadonlySet<bigint>): Promise<OpenSocket[]> {
  const found: OpenSocket[] = [];
  try {
    for await (const address of tcpConnections(kernel)) {
      if (held.has(address)) continue;
      const common = await kernel.tryLoad("sock_common", address);
      if (common === undefined) continue;
      const family = common.number("skc_family");
      found.push({
        protocol: family === INET6 ? "tcp6" : "tcp",
        state: STATES[common.number("skc_state")] ?? "",
        ...internetEnds(common, family),
        inode: 0,
        ...(await namespaceOf(kernel, common)),
        owners: [],
        address,
      });
    }
  } catch (error) {
    if (!(error instanceof AbsentError)) throw error;
    kernel.note(LINUX_RULES.memory, `TCP connections that no process holds are missing: ${error.message}`);
  }
  return found;
}

async function namespaceOf(kernel: Kernel, common: KernelObject): Promise<{ namespace?: number }> {
  const net = common.has("skc_net.net") ? common.pointer("skc_net.net") : 0n;
  const namespace = net === 0n ? undefined : (await kernel.tryLoad("net", net))?.number("ns.inum");
  return namespace === undefined ? {} : { namespace };
}

async function describe(kernel: Kernel, file: KernelObject): Promise<Omit<OpenSocket, "owners"> | undefined> {
  const socket = await file.follow("private_data", "socket");
  if (socket.pointer("sk") === 0n) return undefined;
  const sock = await socket.follow("sk");
  const common = sock.inner("__sk_common");
  const inode = await file.follow("f_inode");
  const family = sock.number("__sk_common.skc_family");
  const isInternet = family === INET || family === INET6;
  const state = STATES[sock.number("__sk_common.skc_state")] ?? "";
  const protocol = protocolOf(sock, family);
  const ends = isInternet ? internetEnds(common, family) : await unixEnds(kernel, sock, family);
  return {
    protocol,
    state: isInternet || family === UNIX ? (family === UNIX && state === "CLOSE" ? "" : state) : "",
    ...ends,
    inode: inode.number("i_ino"),
    ...(await namespaceOf(kernel, common)),
    address: sock.address,
  };
}

function protocolOf(sock: KernelObject, family: number): string {
  if (family !== INET && family !== INET6) return FAMILIES.get(family) ?? `family ${family}`;
  const number = sock.number("sk_protocol");
  const name = sock.number("sk_type") === RAW ? "raw" : (PROTOCOLS.get(number) ?? `protocol ${number}`);
  return family === INET6 && !name.endsWith("6") ? `${name}6` : name;
}

function internetEnds(common: KernelObject, family: number): { local: string; remote: string } {
  const port = common.number("skc_num");
  const wire = common.bytes("skc_dport");
  const peer = ((wire[0] ?? 0) << 8) | (wire[1] ?? 0);
  if (family === INET6) {
    const at = (member: string): string => `[${printV6(common.bytes(member))}]`;
    return { local: `${at("skc_v6_rcv_saddr")}:${port}`, remote: `${at("skc_v6_daddr")}:${peer}` };
  }
  const at = (member: string): string => printV4(common.bytes(member));
  return { local: `${at("skc_rcv_saddr")}:${port}`, remote: `${at("skc_daddr")}:${peer}` };
}

/** The name of a unix socket: a path, or `@name` of an abstract one. */
async function unixEnds(
  kernel: Kernel,
  sock: KernelObject,
  family: number,
): Promise<{ local: string; remote: string }> {
  const none = { local: "", remote: "" };
  if (family !== UNIX || !kernel.hasStruct("unix_sock")) return none;
  const unix = await kernel.load("unix_sock", sock.address);
  const name = async (from: KernelObject): Promise<string> => {
    if (from.pointer("addr") === 0n) return "";
    const address = await from.follow("addr");
    // the family comes first
    const length = Math.min(address.number("len"), 110) - 2;
    const bytes = await readUpTo(kernel.space, address.addressOf("name") + 2n, length);
    return bytes[0] === 0 ? `@${decodeText(bytes.subarray(1))}` : decodeText(bytes);
  };
  const peer = unix.pointer("peer");
  return {
    local: await name(unix),
    remote: peer === 0n ? "" : await name(await kernel.load("unix_sock", peer)),
  };
}
