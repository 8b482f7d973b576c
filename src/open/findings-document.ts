import { RULE_TABLES } from "./rules.js";

/** docs/findings.md: every rule with its severity, clause and explanation. */
export function findingsDocument(): string {
  const lines = [
    "# Findings",
    "",
    "Every code that `guestscope verify` can report. Made from the rules by `npx tsx scripts/generate-findings.ts`; `guestscope explain CODE` prints the same.",
  ];
  for (const [title, rules] of RULE_TABLES) {
    lines.push("", `## ${title}`);
    for (const { code, severity, spec, explanation } of rules) {
      lines.push("", `### \`${code}\``, "", `${severity} · ${spec}`, "", explanation);
    }
  }
  return `${lines.join("\n")}\n`;
}
