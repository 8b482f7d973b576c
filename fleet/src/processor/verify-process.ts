import { installNodeCodecs } from "guestscope/node";
import { verifyOne, type VerifyRequest } from "./verify-one.js";

/** The process in which inputs are verified, one at a time: a request in, an outcome out. */
installNodeCodecs();
process.on("message", (request: VerifyRequest) => {
  void verifyOne(request).then((outcome) => process.send?.(outcome));
});
process.on("disconnect", () => process.exit());
