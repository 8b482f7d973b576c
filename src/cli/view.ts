import { spawn } from "node:child_process";
import { UsageError } from "../findings/errors.js";
import { type Command, type CommonArguments, EXIT } from "./command.js";
import { addGuestOptions, hasGuestOptions } from "./guest-input.js";
import { paint, print, printJson } from "./terminal.js";

interface Arguments extends CommonArguments {
  readonly inputs: readonly string[];
  readonly port: string | undefined;
  readonly no_open: boolean;
}

const LARGEST_PORT = 65_535;

function parsePort(text: string | undefined): number {
  if (text === undefined) return 0;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(port) || port > LARGEST_PORT) throw new UsageError(`--port ${text}: not a port`);
  return port;
}

/** The program, with its first arguments, that opens an address in the user's browser; none where there is no screen for one. */
export function browserCommand({
  platform,
  env,
}: Pick<NodeJS.Process, "platform" | "env">): readonly string[] {
  if (platform === "darwin") return ["open"];
  if (platform === "win32") return ["cmd", "/c", "start", '""'];
  // the two may be set to nothing
  const screens = [env.DISPLAY, env.WAYLAND_DISPLAY];
  return screens.some((screen) => screen !== undefined && screen !== "") ? ["xdg-open"] : [];
}

/** Opens the page in the user's browser, if there is a place to show one. What goes wrong is no matter: the address is printed. */
function openBrowser(url: string): void {
  const [program, ...args] = browserCommand(process);
  if (program === undefined) return;
  const child = spawn(program, [...args, url], { stdio: "ignore", detached: true });
  child.on("error", () => undefined);
  child.unref();
}

/** Resolves with the signal that ends the program. */
function ended(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, resolve);
  });
}

export const command: Command = {
  name: "view",
  summary: "show inputs in the browser: memory, vCPUs, records, findings",
  examples: [
    "guestscope view web01.save",
    "guestscope view before.vmcore after.vmcore",
    "guestscope view pid:4711",
    "guestscope view --no-open --port 8080 core.4711   # behind ssh -L 8080:127.0.0.1:8080",
  ],
  configure(parser) {
    parser.add_argument("inputs", {
      metavar: "INPUT",
      nargs: "+",
      help: "files, - for standard input, or pid:N for a running QEMU",
    });
    parser.add_argument("--port", { metavar: "N", help: "port on 127.0.0.1 (default: any that is free)" });
    parser.add_argument("--no-open", { action: "store_true", help: "print the address, open no browser" });
    addGuestOptions(parser);
  },
  async run(args) {
    const { inputs, port, no_open: noOpen, json, quiet } = args as Arguments;
    const wanted = parsePort(port);
    const [{ viewerAssets }, { offer }, { startServer }] = await Promise.all([
      import("./view/files.js"),
      import("./view/inputs.js"),
      import("./view/server.js"),
    ]);
    const assets = viewerAssets();
    const offers = [];
    for (const name of inputs) offers.push(await offer(name, args, hasGuestOptions(args)));
    const server = await startServer({ assets, offers }, wanted);
    if (json) printJson({ schemaVersion: 1, kind: "view", url: server.url });
    else {
      print(server.url);
      if (!quiet) print(paint("dim", "Only this computer can open it. Ctrl-C ends it."));
    }
    if (!noOpen) openBrowser(server.url);
    const signal = await ended();
    await server.close();
    for (const one of offers) {
      if (one.kind === "calls") await one.close();
    }
    // dies of the signal, as whoever sent it expects
    process.kill(process.pid, signal);
    return EXIT.good;
  },
};
