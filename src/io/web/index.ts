export { blobSource, webStream } from "./blob.js";
export {
  type HttpInput,
  type HttpOptions,
  HttpSource,
  type HttpStatistics,
  isWebAddress,
  openHttp,
} from "./http.js";
