import type { InputFormat } from "../guest/input-format.js";
import { qemuCore } from "../qemu/core/format.js";
import { libvirtQemuSave } from "../qemu/libvirt/format.js";
import { qemuMigration } from "../qemu/migration/format.js";
import { avml } from "../vmcore/avml/format.js";
import { elfVmcore } from "../vmcore/elf/format.js";
import { kdump } from "../vmcore/kdump/format.js";
import { lime } from "../vmcore/lime/format.js";
import { qcow2 } from "./qcow2.js";
import { xenCore } from "../vmcore/xen-core/format.js";
import { libvirtLibxlSave, xapiSave } from "../xen/envelopes/format.js";
import { xenLegacy } from "../xen/legacy/format.js";
import { xenStream } from "../xen/stream/format.js";

/** Every format an input is tried against, in this order: those with a magic number first. */
export const FORMATS: readonly InputFormat[] = [
  xenStream,
  xapiSave,
  libvirtLibxlSave,
  // a QEMU stream is in it: with a damaged head it would be taken for that alone
  libvirtQemuSave,
  qemuMigration,
  qcow2,
  kdump,
  lime,
  avml,
  xenCore,
  elfVmcore,
  qemuCore,
  xenLegacy,
];
