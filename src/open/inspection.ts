import type { Qcow2Inspection } from "../disk/qcow2/inspect.js";
import type { QemuCoreInspection } from "../qemu/core/inspect.js";
import type { QevmInspection } from "../qemu/migration/inspect.js";
import type { AvmlInspection } from "../vmcore/avml/inspect.js";
import type { ElfVmcoreInspection } from "../vmcore/elf/inspect.js";
import type { KdumpInspection } from "../vmcore/kdump/inspect.js";
import type { LimeInspection } from "../vmcore/lime/inspect.js";
import type { RawInspection } from "../vmcore/raw/guest.js";
import type { XenCoreInspection } from "../vmcore/xen-core/inspect.js";
import type { LegacyInspection } from "../xen/legacy/inspect.js";
import type { XenStreamInspection } from "../xen/stream/inspect.js";

/** What `inspect` answers: a union by `kind`, so that a check of it gives `details` their type. */
export type Inspection =
  | XenStreamInspection
  | LegacyInspection
  | QemuCoreInspection
  | QevmInspection
  | Qcow2Inspection
  | KdumpInspection
  | LimeInspection
  | AvmlInspection
  | ElfVmcoreInspection
  | XenCoreInspection
  | RawInspection;
