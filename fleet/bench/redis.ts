import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { createServer } from "node:net";

/** Settings of a server: its password, its TLS files. */
export interface RedisSettings {
  readonly password?: string;
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string };
}

/** A redis-server of our own with its append-only file in a folder; it can be killed and started again. */
export class RedisServer {
  readonly port: number;
  readonly #folder: string;
  readonly #settings: RedisSettings;
  #child: ChildProcess | undefined;

  private constructor(folder: string, port: number, settings: RedisSettings) {
    this.#folder = folder;
    this.port = port;
    this.#settings = settings;
  }

  static async start(folder: string, settings: RedisSettings = {}): Promise<RedisServer> {
    fs.mkdirSync(folder, { recursive: true });
    const server = new RedisServer(folder, await freePort(), settings);
    await server.start();
    return server;
  }

  get url(): string {
    const secret = this.#settings.password === undefined ? "" : `:${this.#settings.password}@`;
    return `${this.#settings.tls === undefined ? "redis" : "rediss"}://${secret}127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const { password, tls } = this.#settings;
    const listen =
      tls === undefined
        ? ["--port", String(this.port)]
        : [
            "--port",
            "0",
            "--tls-port",
            String(this.port),
            "--tls-cert-file",
            tls.cert,
            "--tls-key-file",
            tls.key,
          ].concat("--tls-ca-cert-file", tls.ca, "--tls-auth-clients", "no");
    const secret = password === undefined ? [] : ["--requirepass", password];
    const stay = ["--bind", "127.0.0.1", "--dir", this.#folder, "--appendonly", "yes", "--save", ""];
    const child = spawn("redis-server", [...listen, ...secret, ...stay], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#child = child;
    await new Promise<void>((resolve, reject) => {
      child.once("exit", () => reject(new Error("redis-server ended")));
      child.once("error", reject);
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        if (text.includes("Ready to accept connections")) resolve();
      });
    });
  }

  async kill(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
