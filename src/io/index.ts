export { ByteReader, type ByteReaderOptions } from "./byte-reader.js";
export { type AtomicSink, type ByteSink, isRandomSink, MemorySink, type RandomSink } from "./byte-sink.js";
export {
  type ByteSource,
  bytesSource,
  type ByteStream,
  type DoubtfulBytes,
  type FilePlace,
  isByteSource,
  type LostBytes,
  type MaybePromise,
  type Packed,
  readFully,
  sliceSource,
  streamOf,
  type Tear,
} from "./byte-source.js";
export { type ByteSearch, indexOfBytes, installByteSearch } from "./byte-search.js";
export { type PeekedInput, peekHead } from "./peek-head.js";
export { LostBytesError } from "./lost-bytes.js";
export { MemorySpool, type OpenSpool, type Spool, SpoolWriter } from "./spool.js";
