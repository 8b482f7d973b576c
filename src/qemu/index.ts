/** QEMU: cores of its process, live processes, migration files, libvirt saves. */
export { qemuCore } from "./core/format.js";
export { inspectProcess, openQemuGuest, openState } from "./core/open.js";
export type { QemuCoreInspection } from "./core/inspect.js";
export { qemuMigration } from "./migration/format.js";
export type { BlockAddress, QemuOptions } from "../guest/options.js";
export { inspectStream, type QevmInspection } from "./migration/inspect.js";
