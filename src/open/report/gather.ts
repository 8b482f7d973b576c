import { GuestscopeError } from "../../findings/errors.js";
import type { Method, Methods } from "../session/protocol.js";
import type { CallContext, Session } from "../session/session.js";
import { htmlReport, type ReportContents } from "./html.js";

/** A report, and whether the input could be read whole. */
export interface Report {
  readonly page: string;
  readonly whole: boolean;
}

/**
 * Asks a session for all that a report shows and writes it. What the input doesn't hold is left out.
 * @throws GuestscopeError when not even the input's kind is known
 */
export async function reportOf(session: Session, progress: CallContext["progress"]): Promise<Report> {
  const context: CallContext = { progress, piece: async () => undefined };
  const ask = <M extends Method>(
    method: M,
    argument: Methods[M]["argument"],
  ): Promise<Methods[M]["result"]> => session.call(method, argument, context);
  const attempt = async <M extends Method>(method: M): Promise<Methods[M]["result"] | undefined> => {
    try {
      return await ask(method, undefined as Methods[M]["argument"]);
    } catch (error) {
      if (error instanceof GuestscopeError) return undefined;
      throw error;
    }
  };
  const overview = await ask("overview", undefined);
  const contents = {
    overview,
    memory: await attempt("memory"),
    findings: await attempt("verify"),
    processors: await attempt("processors"),
    parts: await attempt("parts"),
    linux: await attempt("linuxSummary"),
    log: await attempt("linuxLog"),
  };
  const known = Object.fromEntries(Object.entries(contents).filter(([, value]) => value !== undefined));
  return {
    page: htmlReport(known as unknown as ReportContents),
    whole: overview.problems.every(({ severity }) => severity !== "error"),
  };
}
