import { layout, text, u64, u64big } from "../../binary/layout.js";

const SPEC = "Xen dump-core format (docs/misc/dump-core-format.txt)";

/** Note types of the name `Xen`. */
export const XEN_NOTE = {
  none: 0x200_0000,
  header: 0x200_0001,
  version: 0x200_0002,
  format: 0x200_0003,
} as const;
export const XEN_CORE_MAGIC_PV = 0xf00f_ebedn;
export const XEN_CORE_MAGIC_HVM = 0xf00f_ebeen;

/** Descriptor of note 0x2000001. */
export const xenCoreHeader = layout("xen_dumpcore_elfnote_header", SPEC, {
  magic: u64big("0xf00febed: PV, 0xf00febee: HVM"),
  vcpus: u64("processors"),
  pages: u64("pages"),
  pageSize: u64("bytes of a page"),
});

/** Descriptor of note 0x2000002, 1280 bytes. */
export const xenCoreVersion = layout("xen_dumpcore_elfnote_xen_version", SPEC, {
  major: u64("major version of Xen"),
  minor: u64("minor version"),
  extra: text(16, "extra version"),
  compiler: text(64, "compiler"),
  compileBy: text(16, "who built it"),
  compileDomain: text(32, "where"),
  compileDate: text(32, "when"),
  capabilities: text(1024, "kinds of guests"),
  changeSet: text(64, "change set"),
  virtStart: u64big("where the hypervisor starts in a PV guest's addresses"),
  pageSize: u64("bytes of a page"),
});

/** Descriptor of note 0x2000003. */
export const xenCoreFormat = layout("xen_dumpcore_elfnote_format_version", SPEC, {
  version: u64("1"),
});
