export { type DebugInfoOptions, DebugInfo, type Variable } from "./info.js";
export type { SplitOptions } from "./split.js";
export { type Field, type Member, type NamedKind, Type, type TypeKind } from "./type.js";
