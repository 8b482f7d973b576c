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

interface PlainDocument<Kind extends string> {
  readonly schemaVersion: 1;
  readonly kind: Kind;
}

/** What `read --json` prints: the bytes of each part in hexadecimal, or why they are not there. */
export interface MemoryDocument extends PlainDocument<"memory"> {
  readonly source: string;
  readonly address: string;
  readonly length: number;
  readonly parts: readonly Members[];
}

/** What `search --json` prints. */
export interface SearchDocument extends PlainDocument<"search"> {
  readonly source: string;
  /** The other members: see docs. */
  readonly [member: string]: unknown;
}

/** What `diff --json` prints. */
export interface DiffDocument extends PlainDocument<"diff"> {
  /** The members: see docs. */
  readonly [member: string]: unknown;
}

/** What `view --json` prints. */
export interface ViewDocument extends PlainDocument<"view"> {
  readonly url: string;
}

/** What `symbols --json` prints. */
export interface LinuxSymbolFileDocument extends PlainDocument<"linux-symbol-file"> {
  /** The members: see docs. */
  readonly [member: string]: unknown;
}

/** What `mod`, `mount`, `net`, `files`, `maps`, `sym` and `struct` print with `--json`. */
export interface LinuxMembersDocument<Kind extends string> extends LinuxDocument<Kind> {
  /** The other members: see docs. */
  readonly [member: string]: unknown;
}
export type LinuxModulesDocument = LinuxMembersDocument<"linux-modules">;
export type LinuxMountsDocument = LinuxMembersDocument<"linux-mounts">;
export type LinuxNetworkDocument = LinuxMembersDocument<"linux-network">;
export type LinuxFilesDocument = LinuxMembersDocument<"linux-files">;
export type LinuxMappingsDocument = LinuxMembersDocument<"linux-mappings">;
export type LinuxSymbolsDocument = LinuxMembersDocument<"linux-symbols">;
export type LinuxTypeDocument = LinuxMembersDocument<"linux-type">;
export type LinuxValueDocument = LinuxMembersDocument<"linux-value">;

/** Every document that `--json` prints; `kind` tells which. */
export type Document =
  | MemoryDocument
  | SearchDocument
  | DiffDocument
  | ViewDocument
  | LinuxSymbolFileDocument
  | LinuxModulesDocument
  | LinuxMountsDocument
  | LinuxNetworkDocument
  | LinuxFilesDocument
  | LinuxMappingsDocument
  | LinuxSymbolsDocument
  | LinuxTypeDocument
  | LinuxValueDocument
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
