export {
  descriptorPosition,
  DescriptorStream,
  FileSource,
  openFile,
  openInput,
  type OpenInputOptions,
  systemError,
  type Waiting,
} from "./files.js";
export { DescriptorSink, FileSink, openOutput, SpoolFile } from "./output.js";
export { nodeDebugFiles, type NodeDebugFiles } from "./debug-files.js";
export { type DecompressOptions, openRandomAccess, type RandomAccess } from "./decompress.js";
export { LiveProcess, parsePid } from "./process-memory.js";
export { installNodeCodecs } from "./codecs.js";
export { nodeAsk } from "./http-ask.js";
export { unpackWorkers } from "./unpack-workers.js";
export { pageWorkersAhead } from "./page-workers.js";
export { installNodeSpill } from "./spill-file.js";
