import type { Command } from "./command.js";

/** Every command but `completion`, which prints this list. */
export const LISTED: Readonly<Record<string, () => Promise<Command>>> = {
  inspect: async () => (await import("./inspect.js")).command,
  verify: async () => (await import("./verify.js")).command,
  extract: async () => (await import("./extract.js")).command,
  convert: async () => (await import("./convert.js")).command,
  log: async () => (await import("./log.js")).command,
  ps: async () => (await import("./ps.js")).command,
  bt: async () => (await import("./bt.js")).command,
  sys: async () => (await import("./sys.js")).command,
  mod: async () => (await import("./mod.js")).command,
  mount: async () => (await import("./mount.js")).command,
  net: async () => (await import("./net.js")).command,
  files: async () => (await import("./files.js")).command,
  maps: async () => (await import("./maps.js")).command,
  sym: async () => (await import("./sym.js")).command,
  struct: async () => (await import("./struct.js")).command,
  symbols: async () => (await import("./symbols.js")).command,
  read: async () => (await import("./read.js")).command,
  search: async () => (await import("./search.js")).command,
  strings: async () => (await import("./strings.js")).command,
  diff: async () => (await import("./diff.js")).command,
  explain: async () => (await import("./explain.js")).command,
  view: async () => (await import("./view.js")).command,
  formats: async () => (await import("./formats.js")).command,
};
