import type { InputFormat } from "../guest/input-format.js";
import { qemuCore } from "../qemu/core/format.js";
import { libvirtQemuSave } from "../qemu/libvirt/format.js";
import { qemuMigration } from "../qemu/migration/format.js";
import { ELF_VMCORE_FORMAT } from "../vmcore/elf-reader.js";
import { KDUMP_FORMAT } from "../vmcore/kdump-format.js";
import { XEN_CORE_FORMAT } from "../vmcore/xen-core-reader.js";
import { libvirtLibxlSave, xapiSave } from "../xen/envelopes/formats.js";
import { xenLegacy } from "../xen/legacy/format.js";
import { xenStream } from "../xen/stream-format.js";

/** Every format an input is tried against, in this order: those with a magic number first. */
export const FORMATS: readonly InputFormat[] = [
  xenStream,
  xapiSave,
  libvirtLibxlSave,
  qemuMigration,
  libvirtQemuSave,
  KDUMP_FORMAT,
  XEN_CORE_FORMAT,
  ELF_VMCORE_FORMAT,
  qemuCore,
  xenLegacy,
];
