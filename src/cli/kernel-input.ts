import { writtenOut } from "../binary/text.js";
import type { ArgumentParser, Namespace } from "argparse";
import type { GuestImage } from "../guest/image.js";
import { UsageError } from "../findings/errors.js";
import { type Kernel, openKernel } from "../linux/kernel.js";
import { openFile } from "../io/node/files.js";
import type { Trouble } from "../linux/rules.js";
import { openVmlinux } from "../linux/vmlinux.js";
import { type CommonArguments, EXIT } from "./command.js";
import { addGuestOptions, withGuest } from "./guest-input.js";
import { Progress } from "./progress.js";
import { printError } from "./terminal.js";

/** Arguments of every command that looks into a Linux guest. */
export interface KernelArguments extends CommonArguments {
  readonly input: string;
  readonly vmlinux?: string;
  readonly vmcoreinfo?: string;
}

/** INPUT and the options of every command that looks into a Linux guest. */
export function addKernelOptions(parser: ArgumentParser): void {
  parser.add_argument("input", {
    metavar: "INPUT",
    help: "a file, - for standard input, or pid:N for a running QEMU",
  });
  addGuestOptions(parser);
  parser.add_argument("--vmlinux", {
    metavar: "FILE",
    help: "the kernel's file with BTF or debug information, for kernels whose memory lacks symbols or types",
  });
}

/** Opens INPUT as a guest, whole or not, and prints its warnings. */
export async function withAnyGuest<T>(args: Namespace, use: (guest: GuestImage) => Promise<T>): Promise<T> {
  return withOpened(args, true, use);
}

/** As withAnyGuest, for who may need no kernel: openKernelOf() looks for it, which may read all of the memory. */
export async function withGuestMemory<T>(
  args: Namespace,
  use: (guest: GuestImage) => Promise<T>,
): Promise<T> {
  return withOpened(args, false, use);
}

async function withOpened<T>(
  args: Namespace,
  findKernel: boolean,
  use: (guest: GuestImage) => Promise<T>,
): Promise<T> {
  const { input, quiet, json } = args as KernelArguments;
  const progress = new Progress(!quiet);
  const rest = { partial: true, progress: progress.update, findKernel };
  return withGuest(input, args, rest, async (guest) => {
    progress.done();
    if (!quiet && !json) for (const warning of guest.warnings) printError(`guestscope: warning: ${warning}`);
    return use(guest);
  }).finally(() => progress.done());
}

/** Opens the Linux kernel of INPUT; `use` gives the exit status if nothing is missing. */
export async function withKernel(args: Namespace, use: (kernel: Kernel) => Promise<number>): Promise<number> {
  return withAnyGuest(args, async (guest) => {
    const kernel = await openKernelOf(guest, args);
    const status = await use(kernel);
    return tellTroubles(args as KernelArguments, kernel.troubles, status);
  });
}

/** The kernel of a guest, with what `--vmlinux` names. */
export async function openKernelOf(guest: GuestImage, args: Namespace): Promise<Kernel> {
  const { vmlinux, vmcoreinfo } = args as KernelArguments;
  if (vmcoreinfo === "none") throw new UsageError("--vmcoreinfo none leaves nothing to find the kernel by");
  return openKernel(
    guest.facts.archIsGuess === true ? await labelled(guest) : guest,
    vmlinux === undefined ? {} : { vmlinux: async () => openVmlinux(openFile(vmlinux)) },
  );
}

/** A guest of an architecture that its kernel says, where there is one: all of the memory is read once. */
async function labelled(guest: GuestImage): Promise<GuestImage> {
  const { unlabelledGuest } = await import("../vmcore/unlabelled.js");
  const { archIsGuess: _guess, ...facts } = guest.facts;
  const found = await unlabelledGuest({ ...guest, facts }, facts.origin);
  if (found.facts.vmcoreInfo !== undefined) return found;
  return { ...found, facts: { ...found.facts, vmcoreInfoIsChosen: true } };
}

/** Prints what was missing or damaged; the exit status with that in mind. */
function tellTroubles(
  { quiet, json }: CommonArguments,
  troubles: readonly Trouble[],
  status: number,
): number {
  if (!quiet && !json)
    for (const { code, message } of troubles)
      printError(`guestscope: warning: ${printable(message)} [${code}]`);
  return troubles.length === 0 ? status : Math.max(status, EXIT.badInput);
}

/** Text of the guest's making with control characters as `\x1b`: no terminal obeys it. */
export function printable(text: string): string {
  return text.replace(/[\0-\x1f\x7f-\x9f]/g, writtenOut);
}
