import type { LayoutSection } from "../binary/layout.js";
import type { Rule, RuleSection } from "../findings/rule.js";
import { FORMATS } from "./formats.js";

/** Every rule there is, by the part that checks it: those of any input, of the formats, of the libraries below them. */
export async function ruleSections(): Promise<readonly RuleSection[]> {
  const [open, formats, linux, linuxLog, linuxStacks, guest, io, binary, elf, dwarf] = await Promise.all([
    import("./rules.js"),
    Promise.all(FORMATS.map((format) => format.rules())),
    import("../linux/rules.js"),
    import("../linux/log/rules.js"),
    import("../linux/unwind/rules.js"),
    import("../guest/rules.js"),
    import("../io/rules.js"),
    import("../binary/rules.js"),
    import("../elf/rules.js"),
    import("../dwarf/rules.js"),
  ]);
  const sections: RuleSection[] = [
    { title: "Any input", rules: open.OPEN_RULES },
    ...formats.flat(),
    { title: "Linux guests", rules: linux.LINUX_RULES },
    { title: "Linux kernel logs", rules: linuxLog.LINUX_LOG_RULES },
    { title: "Linux stacks", rules: linuxStacks.LINUX_STACK_RULES },
    { title: "Guest memory", rules: guest.GUEST_RULES },
    { title: "Compressed data", rules: io.CODEC_RULES },
    { title: "Fields", rules: binary.BINARY_RULES },
    { title: "ELF files, process cores and debug files", rules: elf.ELF_RULES },
    { title: "Debugging information", rules: dwarf.DWARF_RULES },
  ];
  return sections.filter(({ rules }, i) => sections.findIndex((section) => section.rules === rules) === i);
}

/** Every structure there is, by format or layer. */
export async function layoutSections(): Promise<readonly LayoutSection[]> {
  const sections = (await Promise.all(FORMATS.map((format) => format.layouts()))).flat();
  return sections.filter(({ name }, i) => sections.findIndex((section) => section.name === name) === i);
}

/** Every rule there is. */
export async function allRules(): Promise<readonly Rule[]> {
  return (await ruleSections()).flatMap(({ rules }) => Object.values(rules));
}

/** The rule of a code; undefined where there is none. */
export async function findRule(code: string): Promise<Rule | undefined> {
  return (await allRules()).find((rule) => rule.code === code);
}
