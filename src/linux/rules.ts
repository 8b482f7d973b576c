import { type Rule, rules } from "../findings/rule.js";
import { AbsentError, FormatError, type Place } from "../findings/errors.js";

/** What can be missing from, or wrong with, a Linux guest's own account of itself in its memory. */
export const LINUX_RULES = rules({
  noVmcoreInfo: {
    code: "linux/vmcoreinfo/absent",
    severity: "error",
    spec: "Linux, Documentation/admin-guide/kdump/vmcoreinfo.rst",
    explanation:
      "The memory holds no VMCOREINFO, the kernel's description of itself. Either the guest ran no Linux kernel, or the kernel was built without crash dump support, or the page that holds the text is not in the input.",
  },
  badVmcoreInfo: {
    code: "linux/vmcoreinfo/contradicted",
    severity: "error",
    spec: "Linux, Documentation/admin-guide/kdump/vmcoreinfo.rst",
    explanation:
      "VMCOREINFO does not agree with the memory it was found in: the page tables it names do not map the kernel. The text may be left over from a kernel that ran earlier, or the page tables are not in the input.",
  },
  architecture: {
    code: "linux/architecture",
    severity: "error",
    spec: "guestscope",
    explanation: "The kernel's memory is read on x86_64 and aarch64 (little endian) only.",
  },
  noKallsyms: {
    code: "linux/kallsyms/absent",
    severity: "error",
    spec: "Linux, kernel/kallsyms_internal.h",
    explanation:
      "The kernel's symbol table was not found: the kernel was built without CONFIG_KALLSYMS, or the pages that hold the table are not in the input.",
  },
  badKallsyms: {
    code: "linux/kallsyms/damaged",
    severity: "error",
    spec: "Linux, scripts/kallsyms.c",
    explanation:
      "The kernel's symbol table can't be decoded: a length, token or count in it points outside of the table, or no known form of addresses agrees with the symbols that VMCOREINFO names.",
  },
  noSymbol: {
    code: "linux/symbol/absent",
    severity: "error",
    spec: "Linux, kernel/kallsyms.c",
    explanation:
      "The kernel's symbol table lacks a variable. Kernels built without CONFIG_KALLSYMS_ALL name functions only; other kernels may not have the variable in their version.",
  },
  noTypes: {
    code: "linux/types/absent",
    severity: "error",
    spec: "Linux, Documentation/bpf/btf.rst",
    explanation:
      "The memory holds no BTF, the kernel's description of its types: the kernel was built without CONFIG_DEBUG_INFO_BTF, or the pages are not in the input. The matching vmlinux file with debug information can stand in for it.",
  },
  otherVmlinux: {
    code: "linux/vmlinux/mismatch",
    severity: "error",
    spec: "Linux, Documentation/admin-guide/kdump/vmcoreinfo.rst: BUILD-ID",
    explanation:
      "The vmlinux file was built from another kernel than the guest ran. Its types and symbols would be wrong; the matching file has the build id that VMCOREINFO names.",
  },
  badBtf: {
    code: "linux/btf/damaged",
    severity: "error",
    spec: "Linux, Documentation/bpf/btf.rst",
    explanation: "BTF breaks off or contradicts itself; its types can't be used.",
  },
  noType: {
    code: "linux/type/absent",
    severity: "error",
    spec: "Linux, Documentation/bpf/btf.rst",
    explanation:
      "The kernel's types lack a structure or member by that name; kernels of other versions may name it differently.",
  },
  memory: {
    code: "linux/memory/absent",
    severity: "error",
    spec: "guestscope",
    explanation:
      "A kernel address is not mapped, or its page is not in the input. Filtered dumps leave pages out; damaged pointers lead nowhere.",
  },
  badStructure: {
    code: "linux/structure/damaged",
    severity: "warning",
    spec: "guestscope",
    explanation:
      "A list or tree in kernel memory does not end as it should: it runs in a loop, leads to unmapped memory, or holds values that can't be. What was reached before is shown. The guest may have been saved in the middle of a change.",
  },
  tooLong: {
    code: "linux/structure/too-long",
    severity: "warning",
    spec: "guestscope",
    explanation: "A list or tree in kernel memory has more entries than any real one; the rest is left out.",
  },
});

/** Takes note of something missing or damaged that did not stop the reading. */
export type OnTrouble = (rule: Rule, message: string) => void;

/** Something missing or damaged that did not stop the reading. */
export interface Trouble {
  /** The rule's code: `linux/structure/damaged`. */
  readonly code: string;
  /** What was seen, in one sentence. */
  readonly message: string;
}

/** Collects troubles, each sentence once and at most `most` of them. */
export function troubleCollector(most = 100): {
  readonly troubles: readonly Trouble[];
  readonly add: OnTrouble;
} {
  const troubles: Trouble[] = [];
  const seen = new Set<string>();
  return {
    troubles,
    add: ({ code }, message) => {
      if (seen.has(message) || seen.size >= most) return;
      seen.add(message);
      troubles.push({ code, message });
    },
  };
}

/** An error for what is not in the input. */
export function absent(rule: Rule, message: string, place: Place = {}): AbsentError {
  return new AbsentError(rule, message, place);
}

/** An error for what is in the input and wrong. */
export function damaged(rule: Rule, message: string, place: Place = {}): FormatError {
  return new FormatError(rule, message, place);
}

/** An address as text: `0xffffffff81000000`. */
export function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}
