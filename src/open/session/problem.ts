import { GuestscopeError } from "../../findings/errors.js";
import type { Problem } from "./protocol.js";

/** An error as data. What is no error of this project is a fault of the program and is called so. */
export function problemOf(error: unknown): Problem {
  if (error instanceof GuestscopeError) {
    const { offset, record, spec } = error.place;
    return {
      severity: "error",
      code: error.code,
      message: error.message,
      ...(offset === undefined ? {} : { offset }),
      ...(record === undefined ? {} : { record }),
      ...(spec === undefined ? {} : { spec }),
    };
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return { severity: "error", code: "internal", message };
}
