import type { LayoutSection } from "../binary/layout.js";
import type { RuleDeclaration } from "../findings/rule.js";
import type { Inspection } from "../open/inspection.js";
import type { ConversionReport } from "../xen/legacy/conversion-report.js";
import type { CompletionDocument } from "./completion.js";
import type { ExtractDocument } from "./extract.js";
import type { ErrorDocument } from "./failure.js";
import type {
  DiffDocument,
  KernelDocument,
  LinuxLogDocument,
  LinuxStacksDocument,
  LinuxSymbolFileDocument,
  LinuxSystemDocument,
  MemoryDocument,
  SearchDocument,
} from "./guest-documents.js";
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

/** What `view --json` prints. */
export interface ViewDocument {
  readonly schemaVersion: 1;
  readonly kind: "view";
  readonly url: string;
}

/** Every document that `--json` prints; `kind` tells which. */
export type Document =
  | MemoryDocument
  | SearchDocument
  | DiffDocument
  | ViewDocument
  | LinuxSymbolFileDocument
  | KernelDocument
  | Inspection
  | VerificationDocument
  | ExtractDocument
  | ConversionReport
  | RulesDocument
  | CompletionDocument
  | FormatsDocument
  | ErrorDocument
  | LinuxLogDocument
  | LinuxStacksDocument
  | LinuxSystemDocument;
