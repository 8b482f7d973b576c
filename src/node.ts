/** What needs Node.js: files, pipes, outputs, running processes. */
export {
  type DecompressOptions,
  descriptorPosition,
  DescriptorSink,
  DescriptorStream,
  FileSink,
  FileSource,
  installNodeCodecs,
  LiveProcess,
  nodeDebugFiles,
  type NodeDebugFiles,
  openFile,
  openInput,
  type OpenInputOptions,
  openOutput,
  openRandomAccess,
  parsePid,
  type RandomAccess,
  SpoolFile,
  systemError,
  type Waiting,
} from "./io/node/index.js";
export { inspectProcess, openProcess, type ProcessOptions } from "./open/node/process.js";
