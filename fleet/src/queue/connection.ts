import * as fs from "node:fs";
import { isIP } from "node:net";
import { SystemError, UsageError } from "guestscope";
import { systemError } from "guestscope/node";
import { Redis } from "ioredis";

/** How Redis is reached. */
export interface RedisAddress {
  /** `redis://[user[:password]@]host[:port][/db]`; `rediss://` is TLS. */
  readonly url: string;
  /** In place of one in the URL. */
  readonly password?: string;
  /** File with the certificates (PEM) that the server's is checked against. */
  readonly ca?: string;
}

/** The address without its password, for messages. */
function describeAddress({ url }: RedisAddress): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname === "/" ? "" : pathname}`;
}

/** Settings of a client. */
export interface ClientSettings {
  readonly host: string;
  readonly port: number;
  readonly username?: string;
  readonly password?: string;
  readonly db?: number;
  readonly tls?: { readonly ca?: Buffer; readonly servername?: string };
  readonly connectTimeout: number;
}

/** Settings for an address. @throws UsageError for what is no URL of Redis, SystemError when the file can't be read */
export function redisOptions(address: RedisAddress): ClientSettings {
  const url = URL.canParse(address.url) ? new URL(address.url) : undefined;
  if (url === undefined || !["redis:", "rediss:"].includes(url.protocol))
    throw new UsageError(
      "a URL such as redis://host:6379 or rediss://user:password@host:6380/0 is expected for Redis",
    );
  const password = address.password ?? decodeURIComponent(url.password);
  const db = /^\/(\d+)$/.exec(url.pathname)?.[1];
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  // a name is asked of the server by TLS, an address can't be
  const name = isIP(host) === 0 ? { servername: host } : {};
  return {
    host,
    port: url.port === "" ? 6379 : Number(url.port),
    ...(url.username === "" ? {} : { username: decodeURIComponent(url.username) }),
    ...(password === "" ? {} : { password }),
    ...(db === undefined ? {} : { db: Number(db) }),
    ...(url.protocol === "rediss:" ? { tls: { ...certificates(address.ca), ...name } } : {}),
    connectTimeout: 10_000,
  };
}

function certificates(file: string | undefined): { ca?: Buffer } {
  if (file === undefined) return {};
  try {
    return { ca: fs.readFileSync(file) };
  } catch (error) {
    throw systemError(error, file);
  }
}

/**
 * Talks to Redis once, so that what is wrong is said at once.
 * @returns what may cost jobs: settings of the server that a queue shouldn't have
 * @throws SystemError `redis/unreachable`, `redis/refused`
 */
export async function checkRedis(address: RedisAddress): Promise<string[]> {
  const client = new Redis({
    ...redisOptions(address),
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  let last: Error | undefined;
  client.on("error", (error: Error) => {
    last = error;
  });
  try {
    await client.connect();
    await client.ping();
    return await settingsToMention(client);
  } catch (error) {
    throw redisError(last ?? error, address);
  } finally {
    client.disconnect();
  }
}

/** An error of the client as one that says what to do. */
export function redisError(error: unknown, address: RedisAddress): SystemError {
  const { message, code } = error as NodeJS.ErrnoException;
  const source = describeAddress(address);
  if (/^(WRONGPASS|NOAUTH|NOPERM|ERR AUTH|ERR invalid password)/.test(message))
    return new SystemError("redis/refused", `Redis doesn't accept the user or password: ${message}`, {
      source,
    });
  if (/^OOM /.test(message))
    return new SystemError("redis/full", `Redis has no memory left: ${message}`, { source });
  const why = message === "" ? (code ?? "no answer") : message;
  return new SystemError("redis/unreachable", `no Redis can be reached: ${why}`, { source });
}

/** Servers of providers may forbid to ask: then nothing is said. */
async function settingsToMention(client: Redis): Promise<string[]> {
  const get = async (name: string): Promise<string | undefined> =>
    ((await client.config("GET", name).catch(() => [])) as string[])[1];
  const policy = await get("maxmemory-policy");
  return [
    ...((await get("appendonly")) === "no"
      ? ["Redis keeps no append-only file: jobs are lost when it restarts (start it with --appendonly yes)"]
      : []),
    ...(policy !== undefined && policy !== "noeviction"
      ? [`Redis drops keys when its memory is full (maxmemory-policy ${policy}): noeviction is needed`]
      : []),
  ];
}
