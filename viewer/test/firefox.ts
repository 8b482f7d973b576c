import { type ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";

/** Where Debian and others have it. */
export const FIREFOX: string = process.env.FIREFOX ?? "/usr/bin/firefox-esr";

/** The name of an element's id in answers: WebDriver, § 12.1. */
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";
const PATIENCE_MS = 60_000;
const MARIONETTE = "127.0.0.1";

type Answer = readonly [type: 1, id: number, error: { readonly message: string } | null, result: unknown];

/**
 * A Firefox without a window, driven by the protocol that it brings along: WebDriver's commands as `LENGTH:JSON` over
 * TCP (Firefox, remote/marionette).
 */
export class Firefox {
  readonly #child: ChildProcess;
  readonly #profile: string;
  readonly #socket: net.Socket;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #rest = Buffer.alloc(0);
  #next = 1;

  private constructor(child: ChildProcess, profile: string, socket: net.Socket) {
    this.#child = child;
    this.#profile = profile;
    this.#socket = socket;
    socket.on("data", (data) => this.#take(data));
  }

  static async start(): Promise<Firefox> {
    const profile = fs.mkdtempSync(path.join(os.tmpdir(), "guestscope-firefox-"));
    // any port that is free; it is written down once it is open
    fs.writeFileSync(path.join(profile, "user.js"), 'user_pref("marionette.port", 0);\n');
    const child = spawn(FIREFOX, ["--headless", "--marionette", "--no-remote", "--profile", profile], {
      stdio: "ignore",
      env: { ...process.env, HOME: profile },
    });
    const socket = net.connect(await portOf(profile), MARIONETTE);
    const firefox = new Firefox(child, profile, socket);
    await firefox.#ask("WebDriver:NewSession", { timeouts: { script: PATIENCE_MS } });
    return firefox;
  }

  #take(data: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, data]);
    for (;;) {
      const colon = this.#rest.indexOf(":");
      if (colon < 0) return;
      const end = colon + 1 + Number(this.#rest.subarray(0, colon).toString());
      if (this.#rest.length < end) return;
      const message = JSON.parse(this.#rest.subarray(colon + 1, end).toString()) as unknown;
      this.#rest = this.#rest.subarray(end);
      // the first is a greeting
      if (Array.isArray(message)) this.#waiting.get(Number(message[1]))?.(message as unknown as Answer);
    }
  }

  async #ask(command: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = this.#next;
    this.#next += 1;
    const answered = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    const text = JSON.stringify([0, id, command, parameters]);
    this.#socket.write(`${Buffer.byteLength(text)}:${text}`);
    const [, , error, result] = await answered;
    this.#waiting.delete(id);
    if (error !== null) throw new Error(`${command}: ${error.message}`);
    return result;
  }

  async goTo(url: string): Promise<void> {
    await this.#ask("WebDriver:Navigate", { url });
  }

  /** What an expression of the page is. */
  async evaluate<T>(expression: string): Promise<T> {
    const script = `return (${expression});`;
    const { value } = (await this.#ask("WebDriver:ExecuteScript", { script, args: [] })) as { value: T };
    return value;
  }

  /** Waits until an expression is true. @throws Error with what the page shows after a minute */
  async until(expression: string): Promise<void> {
    for (const start = performance.now(); performance.now() - start < PATIENCE_MS; ) {
      if (await this.evaluate<boolean>(expression)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`never true: ${expression}; ${await this.evaluate<string>("document.body.innerText")}`);
  }

  /** Chooses a file for an input element. */
  async choose(selector: string, file: string): Promise<void> {
    const { value } = (await this.#ask("WebDriver:FindElement", {
      using: "css selector",
      value: selector,
    })) as { value: Readonly<Record<string, string>> };
    await this.#ask("WebDriver:ElementSendKeys", { id: value[ELEMENT], text: file });
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    await this.#ask("Marionette:Quit", { flags: ["eForceQuit"] });
    this.#socket.destroy();
    await ended;
    fs.rmSync(this.#profile, { recursive: true, force: true });
  }
}

async function portOf(profile: string): Promise<number> {
  const file = path.join(profile, "MarionetteActivePort");
  for (const start = performance.now(); performance.now() - start < PATIENCE_MS; ) {
    const text = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
    if (/^\d+$/.test(text.trim())) return Number(text);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("Firefox opens no port for Marionette");
}
