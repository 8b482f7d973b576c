export {
  type Diagnostics,
  type FindingPlace,
  formatError,
  ShiftedDiagnostics,
  StrictDiagnostics,
  type StrictOptions,
  TransactionalDiagnostics,
} from "./diagnostics.js";
export {
  AbsentError,
  describeError,
  FormatError,
  GuestscopeError,
  type Place,
  type Remedy,
  SystemError,
  TruncatedError,
  UsageError,
} from "./errors.js";
export { describeRecord, type Finding, type RecordRef } from "./finding.js";
export { Report } from "./report.js";
export {
  type Rule,
  type RuleDeclaration,
  rules,
  type RuleSection,
  type RuleTable,
  type Severity,
} from "./rule.js";
