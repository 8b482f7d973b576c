import { type Rule, rules } from "../findings/finding.js";
import { SAVE } from "../qemu/libvirt/rules.js";
import { LOG } from "../linux/log/rules.js";
import { LINUX_RULES } from "../linux/rules.js";
import { STACK_RULES } from "../linux/unwind/rules.js";
import { QEVM } from "../qemu/migration/rules.js";
import { ELF_VMCORE_RULES } from "../vmcore/elf-reader.js";
import { KDUMP_RULES } from "../vmcore/kdump-rules.js";
import { LIME_RULES } from "../vmcore/lime-reader.js";
import { XEN_CORE_RULES } from "../vmcore/xen-core-reader.js";
import { HVM_RULES } from "../xen/hvm-context/rules.js";
import { RULES as LEGACY_RULES } from "../xen/legacy/rules.js";
import { LIBXC_RULES } from "../xen/libxc/rules.js";
import { LIBXL_RULES } from "../xen/libxl/rules.js";
import { STREAM_RULES } from "../xen/stream-rules.js";
import { XL_RULES } from "../xen/xl/rules.js";

/** What can be wrong with an input before any format has a say. */
export const OPEN_RULES = rules({
  empty: {
    code: "open/empty",
    severity: "error",
    spec: "any input",
    explanation: "The input has no octet. A save that failed at once leaves such a file.",
  },
  compressed: {
    code: "open/compressed",
    severity: "error",
    spec: "any input",
    explanation:
      "The input is compressed as a whole. Unpack it on the way: 'zstd -dc FILE | guestscope verify -'.",
  },
  unknown: {
    code: "open/unknown",
    severity: "error",
    spec: "any input",
    explanation: "The first octets are of no format known here; the message says what they look like.",
  },
});

/** All rules, by the part that checks them. */
export const RULE_TABLES: readonly (readonly [title: string, rules: readonly Rule[]])[] = [
  ["Any input", Object.values(OPEN_RULES)],
  ["Xen migration streams", Object.values(STREAM_RULES)],
  ["xl save files", Object.values(XL_RULES)],
  ["libxl layer", Object.values(LIBXL_RULES)],
  ["libxc layer", Object.values(LIBXC_RULES)],
  ["HVM context", Object.values(HVM_RULES)],
  ["Legacy Xen streams", Object.values(LEGACY_RULES)],
  ["QEMU migration files", Object.values(QEVM)],
  ["libvirt save files of QEMU guests", Object.values(SAVE)],
  ["ELF vmcores", Object.values(ELF_VMCORE_RULES)],
  ["Xen cores", Object.values(XEN_CORE_RULES)],
  ["kdump", Object.values(KDUMP_RULES)],
  ["LiME dumps", Object.values(LIME_RULES)],
  ["Linux guests", [...Object.values(LINUX_RULES), ...Object.values(LOG), ...Object.values(STACK_RULES)]],
];

/** The rule of a code. */
export function findRule(code: string): Rule | undefined {
  return RULE_TABLES.flatMap(([, table]) => table).find((rule) => rule.code === code);
}
