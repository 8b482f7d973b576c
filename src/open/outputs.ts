import type { OutputFormat } from "../guest/output-format.js";
import { elfOutput } from "../vmcore/elf/output.js";
import { kdumpOutput } from "../vmcore/kdump/output.js";
import { limeOutput } from "../vmcore/lime/output.js";
import { rawOutput } from "../vmcore/raw/output.js";
import { xenCoreOutput } from "../vmcore/xen-core/output.js";

/** Every format that a guest can be written in; the first is the default. */
export const OUTPUTS: readonly OutputFormat[] = [
  elfOutput,
  kdumpOutput,
  xenCoreOutput,
  rawOutput,
  limeOutput,
];
