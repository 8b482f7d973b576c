import { randomUUID } from "node:crypto";
import * as os from "node:os";

/** The host's name as part of a file name. */
const HOST = os.hostname().replace(/[^\w-]/g, "_");

/** A name for a temporary directory that tells whose it is: `host.pid.random`. */
export function ownedName(): string {
  return `${HOST}.${process.pid}.${randomUUID()}`;
}

/** Whether a directory of such a name belongs to a process of this host that is gone. */
export function isAbandoned(name: string): boolean {
  const match = /^([\w-]+)\.(\d+)\.[0-9a-f-]{36}$/.exec(name);
  if (match?.[1] !== HOST) return false;
  try {
    process.kill(Number(match[2]), 0);
    return false;
  } catch (error) {
    // EPERM: it is there, and another user's
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}
