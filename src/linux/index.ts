/**
 * A saved Linux guest, read from its own memory: symbols from kallsyms, types from BTF, tasks, modules and what the
 * system was doing. No debug package is needed.
 * @packageDocumentation
 */
export { AddressSpace, type PageTables } from "./address-space.js";
export { type KernelClock, kernelClock } from "./clock.js";
export { cpuList, type KernelCpu } from "./cpus.js";
export { type HungTask, hungTasks } from "./hung-tasks.js";
export { type PathRoot, pathBelow, pathOf } from "./file-path.js";
export { fileName } from "./file-name.js";
export { type NetworkInterface, type NetworkNamespace, networkNamespaces } from "./interfaces.js";
export { Kernel, type KernelOptions, openKernel } from "./kernel.js";
export { hlistEntries, listEntries } from "./lists.js";
export { callerName, formatLogRecord, type LogStyle } from "./log/format.js";
export { logSourceOf } from "./log/kernel-log.js";
export { readLog } from "./log/read.js";
export {
  LOG_FACILITIES,
  LOG_LEVELS,
  type LogCaller,
  type LogRecord,
  type LogReport,
} from "./log/record.js";
export { LINUX_LOG_RULES } from "./log/rules.js";
export type { KernelMemory, LogSource } from "./log/source.js";
export { type MapleEntry, mapleEntries } from "./maple-tree.js";
export { type MemoryUse, memoryUse } from "./memory-use.js";
export { type KernelModule, listModules, type ModuleRange, useModuleSymbols } from "./modules.js";
export { listMounts, type Mount, mountsOf } from "./mounts.js";
export { type FileKind, type OpenFile, openFiles } from "./open-files.js";
export { openSockets, type OpenSocket } from "./sockets.js";
export { SYMBOL_FILES, type SymbolFileKind, type SymbolFileSummary } from "./symbols/files.js";
export { type ModuleType, moduleTypes, structOfModules } from "./module-types.js";
export { KernelObject } from "./object.js";
export { environment, type ProcessMemory, processMemory } from "./process.js";
export { treeEntries } from "./rbtree.js";
export { LINUX_RULES, type OnTrouble, type Trouble } from "./rules.js";
export { type KernelSymbol, printPlace, type SymbolPlace, SymbolTable } from "./symbols.js";
export { summarizeLinux } from "./summary.js";
export { type CpuActivity, type LinuxSystem, systemOf } from "./system.js";
export { listTasks, readTask, type Task, type TaskListOptions } from "./tasks.js";
export {
  findMember,
  type KernelMember,
  type KernelType,
  type KernelTypeKind,
  type KernelTypes,
  type MemberPlace,
  type NamedTypeKind,
} from "./types.js";
export { type XarrayEntry, xarrayEntries } from "./xarray.js";
export { type StackStart, Unwinder } from "./unwind/backtrace.js";
export type { Backtrace, FrameRegisters, StackFrame, StackKind } from "./unwind/frame.js";
export { LINUX_STACK_RULES } from "./unwind/rules.js";
export { runningCpus, stackStart } from "./unwind/task-stack.js";
export { listMappings, mappingAt, type UserMapping } from "./user-mappings.js";
export { readPanicMessage } from "./panic.js";
export { openVmlinux, type Vmlinux } from "./vmlinux.js";
