import { type CodeWindow, codeAround } from "../code.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { GuestscopeError } from "../../findings/errors.js";
import type { GuestImage } from "../image.js";
import type { OpenOptions } from "../options.js";
import { kernelBanner, parseVmcoreInfo } from "./vmcoreinfo.js";

/** What a guest was running, as far as its memory tells; addresses and bytes as text, for documents. */
export interface Software {
  /** `Linux version …`, as the kernel prints it. */
  readonly banner?: string;
  readonly vmcoreInfo?: { readonly gpa?: string; readonly release?: string; readonly text: string };
  /** The code around each processor's instruction pointer, where it can be read. */
  readonly code: readonly { readonly vcpu: number; readonly rip: string; readonly bytes: string }[];
}

/** Processors whose code is shown. */
const MOST_VCPUS = 64;

/** As much of a guest as tells what it was running. */
export type RunningGuest = Pick<GuestImage, "memory" | "arch" | "vcpus"> & {
  readonly facts: Pick<GuestImage["facts"], "vmcoreInfo">;
};

/** Finds out what a guest was running: the kernel banner, VMCOREINFO, the code at the instruction pointers. */
export async function softwareOf(guest: RunningGuest): Promise<Software> {
  const { vmcoreInfo } = guest.facts;
  const banner = await kernelBanner(guest.memory, guest.arch, vmcoreInfo, guest.vcpus);
  const code: Software["code"][number][] = [];
  for (const { id, registers } of guest.vcpus.slice(0, MOST_VCPUS)) {
    if (registers?.kind !== "x86") continue;
    const window = await codeAround(guest.memory, registers);
    const rip = `0x${registers.general.rip.toString(16)}`;
    if (window !== undefined) code.push({ vcpu: id, rip, bytes: printCode(window) });
  }
  const release = vmcoreInfo === undefined ? undefined : parseVmcoreInfo(vmcoreInfo.text).get("OSRELEASE");
  return {
    ...(banner === undefined ? {} : { banner }),
    ...(vmcoreInfo === undefined
      ? {}
      : {
          vmcoreInfo: {
            ...(vmcoreInfo.gpa === undefined ? {} : { gpa: `0x${vmcoreInfo.gpa.toString(16)}` }),
            ...(release === undefined ? {} : { release }),
            text: vmcoreInfo.text,
          },
        }),
    code,
  };
}

/** Bytes in hexadecimal, the first of the next instruction in angle brackets. */
function printCode({ bytes, at }: CodeWindow): string {
  const digits = Array.from(bytes, (byte, i) => {
    const hex = byte.toString(16).padStart(2, "0");
    return i === at ? `<${hex}>` : hex;
  });
  return digits.join(" ");
}

/** `software` for an inspection of `input`, if it can be read at any offset and holds a guest that opens. */
export async function inspectSoftware(
  input: ByteSource | ByteStream,
  options: OpenOptions,
  open: (input: ByteSource, options: OpenOptions) => Promise<GuestImage>,
): Promise<{ readonly software?: Software }> {
  if (!isByteSource(input)) return {};
  let guest: GuestImage | undefined;
  try {
    guest = await open(input, { ...options, partial: true });
    return { software: await softwareOf(guest) };
  } catch (error) {
    // what is wrong with the input is told by the inspection itself
    if (error instanceof GuestscopeError) return {};
    throw error;
  } finally {
    await guest?.close?.();
  }
}
