import { AbsentError } from "../../findings/errors.js";
import { networkNamespaces } from "../../linux/interfaces.js";
import type { Kernel } from "../../linux/kernel.js";
import { listMounts } from "../../linux/mounts.js";
import { openSockets } from "../../linux/sockets.js";
import { readTask } from "../../linux/tasks.js";
import { listMappings } from "../../linux/user-mappings.js";
import { taskOf } from "../../linux/where.js";
import type { MappingRow, MountRow, NetworkRows } from "./linux-protocol.js";

/** Rows of one list at most. */
const MOST = 50_000;
/** The process whose mounts are shown: the first. */
const INIT = 1;

/** Mounts as the first process sees them. */
export async function mountRows(kernel: Kernel): Promise<readonly MountRow[]> {
  const namespaces = await (await taskOf(kernel, INIT)).object.follow("nsproxy");
  const rows: MountRow[] = [];
  for await (const mount of listMounts(kernel, namespaces.pointer("mnt_ns"))) {
    if (rows.length === MOST) break;
    rows.push(mount);
  }
  return rows;
}

/** Interfaces of all namespaces, and the sockets that processes hold. */
export async function networkRows(kernel: Kernel): Promise<NetworkRows> {
  const interfaces: NetworkRows["interfaces"][number][] = [];
  for await (const { inode, interfaces: found } of networkNamespaces(kernel))
    for (const { name, index, mtu, up, hardwareAddress, addresses } of found)
      interfaces.push({ namespace: inode, name, index, mtu, up, hardwareAddress, addresses });
  const sockets = await openSockets(kernel);
  return {
    interfaces: interfaces.slice(0, MOST),
    sockets: sockets.slice(0, MOST).map(({ protocol, state, local, remote, owners, address }) => ({
      protocol,
      state,
      local,
      remote,
      owners,
      address,
    })),
  };
}

/** The mappings of the process whose task_struct is at an address. @throws AbsentError when it has none */
export async function mappingRows(kernel: Kernel, address: bigint): Promise<readonly MappingRow[]> {
  const task = await readTask(kernel, address);
  const rows: MappingRow[] = [];
  if (task === undefined || task.mm === 0n) return rows;
  try {
    for await (const { start, end, permissions, file } of listMappings(kernel, task.mm)) {
      if (rows.length === MOST) break;
      rows.push({ start, end, permissions, ...(file === undefined ? {} : { file }) });
    }
  } catch (error) {
    // what was read before stays
    if (!(error instanceof AbsentError) || rows.length === 0) throw error;
  }
  return rows;
}
