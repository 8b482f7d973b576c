import { AbsentError } from "../findings/errors.js";
import type { Kernel } from "./kernel.js";
import { listEntries, offsetOf, Visited } from "./lists.js";
import { readUpTo } from "./read.js";
import { LINUX_RULES } from "./rules.js";

/** Buckets of the table: the kernel makes 512 Ki at most by itself (Linux, net/ipv4/tcp.c, tcp_init). */
const MOST_BUCKETS = 1 << 24;
const MOST_CONNECTIONS = 1 << 20;
/** Bytes of the table that are read at a time. */
const STEP = 1 << 16;

/**
 * Addresses of the `sock_common`s of all TCP connections, in the order of the kernel's hash tables: those that processes
 * hold, that nobody has accepted yet, and that wait for their end (TIME_WAIT). Damage is noted.
 *
 * @throws AbsentError when symbols or types are missing.
 */
export async function* tcpConnections(kernel: Kernel): AsyncGenerator<bigint> {
  const link = offsetOf(kernel, "sock_common", "skc_nulls_node");
  const visited = new Visited(kernel);
  for (const address of await hashTables(kernel)) {
    const table = await kernel.load("inet_hashinfo", address);
    const count = table.number("ehash_mask") + 1;
    if (count > MOST_BUCKETS) {
      kernel.note(LINUX_RULES.badStructure, `the table of TCP connections has ${count} buckets`);
      continue;
    }
    for await (const first of firstNodes(kernel, table.pointer("ehash"), count)) {
      // a list ends in an odd number
      for (let node = first; (node & 1n) === 0n; ) {
        if (node === 0n || !(await visited.enter(node)) || visited.size > MOST_CONNECTIONS) {
          kernel.note(LINUX_RULES.badStructure, "a list of TCP connections does not end as it should");
          break;
        }
        yield node - link;
        try {
          node = await kernel.pointerAt(node);
        } catch (error) {
          if (!(error instanceof AbsentError)) throw error;
          kernel.note(LINUX_RULES.memory, `TCP connections may be missing: ${error.message}`);
          break;
        }
      }
    }
  }
}

/** The tables of all network namespaces, each once: they share one unless they are told not to (since Linux 6.1). */
async function hashTables(kernel: Kernel): Promise<ReadonlySet<bigint>> {
  const found = new Set<bigint>();
  const common = kernel.symbol("tcp_hashinfo");
  if (common !== undefined) found.add(common);
  const head = kernel.needSymbol("net_namespace_list");
  for await (const address of listEntries(kernel, head, "net", "list")) {
    const net = await kernel.tryLoad("net", address);
    if (net?.has("ipv4.tcp_death_row.hashinfo") !== true) continue;
    const table = net.pointer("ipv4.tcp_death_row.hashinfo");
    if (table !== 0n) found.add(table);
  }
  return found;
}

/** First nodes of the buckets. */
async function* firstNodes(kernel: Kernel, start: bigint, count: number): AsyncGenerator<bigint> {
  const { size } = kernel.struct("inet_ehash_bucket");
  for (let done = 0; done < count * size; done += STEP) {
    const wanted = Math.min(STEP, count * size - done);
    const bytes = await readUpTo(kernel.space, start + BigInt(done), wanted);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at + 8 <= bytes.length; at += size) yield view.getBigUint64(at, true);
    if (bytes.length === wanted) continue;
    const why = await kernel.space.whyUnreadable(start + BigInt(done + bytes.length));
    kernel.note(LINUX_RULES.memory, `TCP connections may be missing: ${why}`);
    return;
  }
}
