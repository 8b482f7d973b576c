import { describeError, FormatError, GuestscopeError, type Report, UsageError, verify } from "guestscope";
import { openFile, openRandomAccess } from "guestscope/node";
import { failure, KEPT_FINDINGS, type KeptFinding, type Outcome } from "../jobs/outcome.js";

/** One file to verify. */
export interface VerifyRequest {
  readonly path: string;
  readonly strict: boolean;
  /** Directory for what packed inputs are unpacked into; the system's by default. */
  readonly spool?: string;
}

/** Verifies a file, packed or not; what goes wrong is an outcome too. */
export async function verifyOne(request: VerifyRequest): Promise<Outcome> {
  try {
    const file = openFile(request.path);
    try {
      const access = await openRandomAccess(file, {
        keepTorn: true,
        ...(request.spool === undefined ? {} : { directory: request.spool }),
      });
      try {
        const { report, format } = await verify(access.source, { strict: request.strict });
        return outcomeOf(report, format);
      } finally {
        access.close();
      }
    } finally {
      file.close();
    }
  } catch (error) {
    if (!(error instanceof GuestscopeError)) {
      const { stack = String(error) } = error as Error;
      return failure("fleet/internal", `internal error, please report it: ${stack.slice(0, 2000)}`, "input");
    }
    if (error instanceof UsageError) return failure("fleet/not-verifiable", error.message, "input");
    if (error instanceof FormatError) return failure(error.code, describeError(error), "input");
    return failure(error.code, error.message, "system");
  }
}

function outcomeOf(report: Report, format: string | undefined): Outcome {
  const omitted = new Map(report.omitted);
  for (const { code } of report.findings.slice(KEPT_FINDINGS))
    omitted.set(code, (omitted.get(code) ?? 0) + 1);
  return {
    status: report.valid ? "good" : "bad",
    verdict: report.verdict,
    ...(format === undefined ? {} : { format }),
    errors: report.count("error"),
    warnings: report.count("warning"),
    notes: report.count("note"),
    findings: report.findings.slice(0, KEPT_FINDINGS).map(
      ({ code, severity, message, offset, spec }): KeptFinding => ({
        code,
        severity,
        message,
        offset,
        spec,
      }),
    ),
    omitted: Object.fromEntries(omitted),
  };
}
