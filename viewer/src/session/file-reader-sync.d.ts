/** Of the Web's File API, in workers only: TypeScript's library for pages leaves it out. */
declare class FileReaderSync {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}
