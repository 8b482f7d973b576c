import { rules } from "../../findings/rule.js";

const SPEC = "diskdump header version 6 (makedumpfile diskdump_mod.h)";

/** What can be wrong with a kdump-compressed dump. */
export const KDUMP_RULES = rules({
  flattened: {
    code: "kdump/flattened",
    severity: "error",
    spec: "makedumpfile flattened format",
    explanation:
      "The flattened form must have its header, of type 1 and version 1, and records within 2^53 bytes.",
  },
  signature: {
    code: "kdump/header/signature",
    severity: "error",
    spec: SPEC,
    explanation:
      "The file begins neither with `KDUMP   ` nor with `DISKDUMP`: it is no kdump-compressed dump.",
  },
  header: {
    code: "kdump/header/geometry",
    severity: "error",
    spec: SPEC,
    explanation:
      "Block size, header blocks, bitmap blocks and the number of page frames contradict one another or the file's size: nothing after the header can be found.",
  },
  truncated: {
    code: "kdump/truncated",
    severity: "error",
    spec: SPEC,
    explanation: "The file ends within its headers, notes or bitmaps. Only the intact original helps.",
  },
  notes: {
    code: "kdump/notes",
    severity: "error",
    spec: SPEC,
    explanation:
      "The sub-header names notes or VMCOREINFO outside the file, or they are damaged: registers are lost.",
  },
  incomplete: {
    code: "kdump/status/incomplete",
    severity: "error",
    spec: "diskdump header, status bit 3",
    explanation:
      "The program that wrote the dump ran out of space and says so in the header. What it could write is good; the pages it lost are reported as absent.",
  },
  lost: {
    code: "kdump/descriptor/lost",
    severity: "error",
    spec: SPEC,
    explanation:
      "The bitmap promises a page whose descriptor is empty, or whose contents are beyond the end of the file: the dump was cut. The page is absent, never zeros.",
  },
  descriptor: {
    code: "kdump/descriptor/invalid",
    severity: "error",
    spec: SPEC,
    explanation: "A descriptor has an impossible size or an unknown compression: the page can't be read.",
  },
  page: {
    code: "kdump/page/damaged",
    severity: "error",
    spec: SPEC,
    explanation: "A page's contents don't unpack to exactly one block: they are damaged.",
  },
  bitmap: {
    code: "kdump/bitmap/contradiction",
    severity: "warning",
    spec: SPEC,
    explanation:
      "Bitmap 2 says that a page is in the dump, bitmap 1 that the guest has no such page, or frames beyond the last are set. The page is read all the same.",
  },
  count: {
    code: "kdump/bitmap/count",
    severity: "error",
    spec: SPEC,
    explanation:
      "Bitmap 2 has more or fewer pages than there are descriptors before the contents. A descriptor belongs to a page by its number among the bits: every page after the first wrong bit would have another one's contents.",
  },
  surplus: {
    code: "kdump/contents/surplus",
    severity: "warning",
    spec: SPEC,
    explanation:
      "Bytes follow the contents of the last page, where a dump ends. If they were inserted before, contents of pages after that place are shifted: compressed ones don't unpack, and ones that are stored as they are have other bytes than the guest had.",
  },
  order: {
    code: "kdump/descriptor/order",
    severity: "error",
    spec: "makedumpfile and QEMU: contents of pages are one after another, in the order of the pages",
    explanation:
      "A descriptor doesn't begin where the one before it ends, as every other does: it is damaged, or another page's. The page is absent.",
  },
  erased: {
    code: "kdump/erased",
    severity: "note",
    spec: "makedumpfile -x, --config",
    explanation:
      "makedumpfile erased data that its configuration named: those bytes are the eraser's, not the guest's. The message is its own account: what, and how many bytes.",
  },
  physBase: {
    code: "kdump/sub-header/phys-base",
    severity: "warning",
    spec: "makedumpfile, kdump_sub_header.phys_base",
    explanation:
      "The header's phys_base is not that of VMCOREINFO: QEMU reads the decimal number as hexadecimal. Tools that believe the header translate kernel addresses wrongly; this one takes VMCOREINFO's.",
  },
  vmcoreInfo: {
    code: "kdump/vmcoreinfo",
    severity: "warning",
    spec: "Linux kdump, VMCOREINFO",
    explanation:
      "The page tables that VMCOREINFO names don't map the kernel's text where it says: it is of another kernel, of one that ran before, or altered. Readers that believe it fail.",
  },
  unfinished: {
    code: "kdump/flattened/unfinished",
    severity: "error",
    spec: "makedumpfile flattened format",
    explanation: "The end marker of the flattened form is missing: the dump was cut on its way.",
  },
  trailing: {
    code: "kdump/flattened/trailing",
    severity: "warning",
    spec: "makedumpfile flattened format",
    explanation: "Bytes follow the end marker of the flattened form. They are ignored.",
  },
  overlap: {
    code: "kdump/flattened/overlap",
    severity: "note",
    spec: "makedumpfile flattened format",
    explanation: "Records of the flattened form write the same bytes more than once; the last one holds.",
  },
  machine: {
    code: "kdump/header/machine",
    severity: "error",
    spec: "makedumpfile, diskdump_mod.h: utsname",
    explanation: "The header names a machine that dumps are not read of; docs list those that are.",
  },
  part: {
    code: "kdump/split/part",
    severity: "note",
    spec: "makedumpfile --split",
    explanation:
      "The file is one part of a split dump: pages of the other parts are absent until those are opened with it.",
  },
});
