export { isWebAddress } from "./address.js";
export { blobSource, webStream } from "./blob.js";
export {
  type HttpInput,
  type HttpOptions,
  HttpSource,
  type HttpStatistics,
  openHttp,
} from "./http.js";
export { unpackToBlob } from "./unpack.js";
export type { AnswerBody, Ask, WebAnswer } from "./ask.js";
