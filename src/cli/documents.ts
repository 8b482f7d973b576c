import type { LayoutSection } from "../binary/layout.js";
import type { RuleDeclaration } from "../findings/rule.js";
import type { LinuxSystem } from "../linux/system.js";
import type { Trouble } from "../linux/rules.js";
import type { Inspection } from "../open/inspection.js";
import type { ConversionReport } from "../xen/legacy/convert.js";
import type { CompletionDocument } from "./completion.js";
import type { ExtractDocument } from "./extract.js";
import type { ErrorDocument } from "./failure.js";
import type { VerificationDocument } from "./verify.js";

/** What `explain --json` prints. */
export interface RulesDocument {
  readonly schemaVersion: 1;
  readonly kind: "rules";
  readonly rules: readonly RuleDeclaration[];
}

/** What `formats --json` prints: structures by format. */
export interface FormatsDocument {
  readonly schemaVersion: 1;
  readonly kind: "formats";
  readonly formats: Readonly<Record<string, LayoutSection["layouts"]>>;
}

interface LinuxDocument<Kind extends string> {
  readonly schemaVersion: 1;
  readonly kind: Kind;
  readonly source: string;
  /** What was missing or damaged on the way. */
  readonly troubles: readonly Trouble[];
}

/** An object whose members docs/cli.md names. */
export type Members = Readonly<Record<string, unknown>>;

/** What `log --json` prints. */
export interface LinuxLogDocument extends LinuxDocument<"linux-log"> {
  readonly records: readonly (Members & { readonly text: string })[];
}

/** What `ps --json` prints. */
export interface LinuxTasksDocument extends LinuxDocument<"linux-tasks"> {
  readonly release?: string;
  readonly tasks: readonly (Members & { readonly pid: number })[];
}

/** What `bt --json` prints. */
export interface LinuxStacksDocument extends LinuxDocument<"linux-stacks"> {
  readonly tasks: readonly Members[];
  readonly vcpus?: readonly Members[];
}

/** What `sys --json` prints. */
export interface LinuxSystemDocument extends LinuxDocument<"linux-system"> {
  readonly missing: LinuxSystem["missing"];
  /** The other members: see docs. */
  readonly [member: string]: unknown;
}

/** Every document that `--json` prints; `kind` tells which. */
export type Document =
  | Inspection
  | VerificationDocument
  | ExtractDocument
  | ConversionReport
  | RulesDocument
  | CompletionDocument
  | FormatsDocument
  | ErrorDocument
  | LinuxLogDocument
  | LinuxTasksDocument
  | LinuxStacksDocument
  | LinuxSystemDocument;
