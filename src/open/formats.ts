import type { InputFormat } from "../guest/input-format.js";
import { qemuCore } from "../qemu/core/format.js";
import { libvirtQemuSave } from "../qemu/libvirt/format.js";
import { qemuMigration } from "../qemu/migration/format.js";
import { elfVmcore } from "../vmcore/elf-reader.js";
import { kdump } from "../vmcore/kdump-format.js";
import { lime } from "../vmcore/lime-reader.js";
import { xenCore } from "../vmcore/xen-core-reader.js";
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
  kdump,
  lime,
  xenCore,
  elfVmcore,
  qemuCore,
  xenLegacy,
];
