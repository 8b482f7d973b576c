/** vmcores: input formats, and writers of every output format. */
export { avml } from "./avml/format.js";
export { elfVmcore } from "./elf/format.js";
export type { ElfVmcoreDetails, ElfVmcoreInspection } from "./elf/inspect.js";
export { elfWriter } from "./elf/write.js";
export { kdump } from "./kdump/format.js";
export type { KdumpDetails, KdumpInspection } from "./kdump/inspect.js";
export { createKdumpWriter, kdumpPacking } from "./kdump/write.js";
export { lime } from "./lime/format.js";
export type { LimeInspection } from "./lime/inspect.js";
export { limeWriter } from "./lime/write.js";
export { rawWriter } from "./raw/write.js";
export { xenCore } from "./xen-core/format.js";
export type { XenCoreDetails, XenCoreInspection } from "./xen-core/inspect.js";
export { xenCoreWriter } from "./xen-core/write.js";
