import { type CodeWindow, codeAround } from "../code.js";
import type { GuestImage } from "../image.js";
import type { OpenOptions } from "../options.js";
import type { SystemSummary } from "./system-summary.js";
import { kernelBanner, parseVmcoreInfo } from "./vmcoreinfo.js";

/** What a guest was running, as far as its memory says; addresses and bytes as text, for documents. */
export interface Software {
  /** `Linux version …`, as the kernel prints it. */
  readonly banner?: string;
  readonly vmcoreInfo?: { readonly gpa?: string; readonly release?: string; readonly text: string };
  /** The system in short, where its kernel's memory says. */
  readonly system?: SystemSummary | undefined;
  /** The code around each vCPU's instruction pointer, where it can be read. */
  readonly code: readonly { readonly vcpu: number; readonly rip: string; readonly bytes: string }[];
}

/** vCPUs whose code is shown. */
const MOST_VCPUS = 64;

/**
 * Finds out what a guest was running: the kernel banner, VMCOREINFO, the code at the instruction pointers. Without
 * `findKernel` a kernel that no VMCOREINFO is known of isn't looked for.
 */
export async function softwareOf(
  guest: GuestImage,
  { describeSystem, findKernel = true }: OpenOptions = {},
): Promise<Software> {
  const { vmcoreInfo } = guest.facts;
  const looks = findKernel || vmcoreInfo !== undefined;
  const system = looks ? await describeSystem?.(guest) : undefined;
  const banner =
    system?.banner ??
    (looks ? await kernelBanner(guest.memory, guest.arch, vmcoreInfo, guest.vcpus) : undefined);
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
    system,
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
