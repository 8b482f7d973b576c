import { type RuleDeclaration, rules, type Severity } from "../../findings/rule.js";

const rule = (code: string, severity: Severity, explanation: string): RuleDeclaration => ({
  code: `linux/log/${code}`,
  severity,
  spec: "Linux, kernel/printk: the buffer that VMCOREINFO describes",
  explanation,
});

/** What can be wrong with a kernel log in memory. */
export const LINUX_LOG_RULES = rules({
  unknown: rule(
    "unknown",
    "error",
    "VMCOREINFO must name the log's buffer and the layout of its records: `prb` since Linux 5.10, `log_buf` before. A kernel without CONFIG_PRINTK has neither.",
  ),
  unreadable: rule(
    "unreadable",
    "error",
    "Memory that holds the log isn't in the input, or the kernel's page tables don't map it. Records in it are left out; nothing is put in their place.",
  ),
  damaged: rule(
    "damaged",
    "error",
    "A size, number or place in the log contradicts the ring it belongs to. The record is left out; reading goes on where it can.",
  ),
  unfinished: rule(
    "unfinished",
    "note",
    "A CPU was writing this record when the guest was saved. Its text isn't complete, so it is left out, as the kernel's own readers do.",
  ),
  overwritten: rule(
    "overwritten",
    "note",
    "The record is still announced, but newer messages have taken the place of its text. Only its time and level are known.",
  ),
  truncated: rule(
    "truncated",
    "warning",
    "The record announces more text than its block holds. The text that is there is given.",
  ),
});
