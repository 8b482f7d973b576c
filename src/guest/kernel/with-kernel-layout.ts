import { FormatError } from "../../findings/errors.js";
import type { GuestImage } from "../image.js";
import { kernelLayout } from "./kernel-layout.js";

/**
 * The guest with its kernel's layout among its facts, where its VMCOREINFO and the kernel's page tables say it: writers
 * take it from there. Tables that are damaged are left to those who read them.
 */
export async function withKernelLayout(guest: GuestImage): Promise<GuestImage> {
  const { memory, arch, facts } = guest;
  if (facts.vmcoreInfo === undefined || facts.kernelLayout !== undefined) return guest;
  try {
    const layout = await kernelLayout(memory, facts.vmcoreInfo.text, arch);
    return layout === undefined ? guest : { ...guest, facts: { ...facts, kernelLayout: layout } };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return guest;
  }
}
