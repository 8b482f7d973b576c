import { AbsentError, FormatError } from "../findings/errors.js";

/** The result, or the error that says what is missing or wrong. */
export async function attempt<T>(
  get: () => Promise<T>,
): Promise<{ value?: T; error?: AbsentError | FormatError }> {
  try {
    return { value: await get() };
  } catch (error) {
    if (error instanceof AbsentError || error instanceof FormatError) return { error };
    throw error;
  }
}
