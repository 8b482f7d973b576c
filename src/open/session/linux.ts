import type { GuestImage } from "../../guest/image.js";
import { UsageError } from "../../io/errors.js";
import type { LinuxRequest } from "./protocol.js";

/** Answers what is asked of a Linux guest. @throws UsageError where it can't be told */
export async function answerLinux(_guest: GuestImage, request: LinuxRequest): Promise<unknown> {
  throw new UsageError(`this version can't read the ${request.what} of a Linux guest`);
}
