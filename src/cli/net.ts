import { type NetworkNamespace, networkNamespaces } from "../linux/interfaces.js";
import { type OpenSocket, openSockets } from "../linux/sockets.js";
import { type Command, EXIT } from "./command.js";
import { addKernelOptions, type KernelArguments, printable, withKernel } from "./kernel-input.js";
import { printKernelJson } from "./kernel-table.js";
import { print, tableLines } from "./terminal.js";

function interfaceLines(namespaces: readonly NetworkNamespace[]): string[] {
  const rows = namespaces.flatMap(({ inode, interfaces }) =>
    interfaces.map(({ name, index, mtu, up, hardwareAddress, addresses }) => [
      String(inode),
      String(index),
      printable(name),
      up ? "up" : "down",
      String(mtu),
      hardwareAddress === "" ? "-" : hardwareAddress,
      addresses.join(" "),
    ]),
  );
  return tableLines(
    [
      { title: "NAMESPACE" },
      { title: "NR", align: "right" },
      { title: "INTERFACE" },
      { title: "STATE" },
      { title: "MTU", align: "right" },
      { title: "HARDWARE" },
      { title: "ADDRESSES" },
    ],
    rows,
  );
}

function socketLines(sockets: readonly OpenSocket[]): string[] {
  const orNone = (text: string): string => (text === "" ? "-" : printable(text));
  return tableLines(
    [{ title: "PROTOCOL" }, { title: "STATE" }, { title: "LOCAL" }, { title: "REMOTE" }, { title: "OWNERS" }],
    sockets.map(({ protocol, state, local, remote, owners }) => [
      protocol,
      orNone(state),
      orNone(local),
      orNone(remote),
      owners.map(({ pid, comm, fd }) => `${printable(comm)}(${pid}):${fd}`).join(" "),
    ]),
  );
}

/** `guestscope net`. */
export const command: Command = {
  name: "net",
  summary: "list network interfaces with their addresses, and sockets with who holds them, of a Linux guest",
  examples: ["guestscope net web01.save", "guestscope net --json web01.save | jq .sockets"],
  configure: addKernelOptions,
  async run(args) {
    const options = args as KernelArguments;
    return withKernel(args, async (kernel) => {
      const namespaces: NetworkNamespace[] = [];
      for await (const namespace of networkNamespaces(kernel)) namespaces.push(namespace);
      const sockets = await openSockets(kernel);
      if (options.json) printKernelJson(kernel, options, "linux-network", { namespaces, sockets });
      else if (!options.quiet) {
        for (const line of interfaceLines(namespaces)) print(line);
        print();
        for (const line of socketLines(sockets)) print(line);
      }
      return EXIT.good;
    });
  },
};
