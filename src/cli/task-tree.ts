/** What places a task in the tree. */
interface Placed {
  readonly pid: number;
  readonly tgid: number;
  readonly ppid: number;
}

/** Levels that are indented. */
const DEEPEST = 40;

/**
 * Tasks with their children below them, threads below their process, in the order given; `prefix` draws the branch.
 * Tasks whose parents are not there, or that are their own ancestors, begin trees of their own.
 */
export function inTree<T extends Placed>(rows: readonly T[]): { readonly row: T; readonly prefix: string }[] {
  const leaders = new Set(rows.filter(({ pid, tgid }) => pid === tgid).map(({ pid }) => pid));
  const children = new Map<number, T[]>();
  const roots: T[] = [];
  for (const row of rows) {
    const parent = row.pid === row.tgid ? row.ppid : row.tgid;
    if (parent === row.pid || parent === 0 || !leaders.has(parent)) roots.push(row);
    else childrenOf(children, parent).push(row);
  }
  const out: { row: T; prefix: string }[] = [];
  const done = new Set<T>();
  const walk = (first: T): void => {
    const stack = [{ row: first, branch: "", below: "" }];
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      const { row, branch, below } = top;
      if (done.has(row)) continue;
      done.add(row);
      out.push({ row, prefix: branch });
      // threads share the number that their children's parent has
      const under = row.pid === row.tgid ? (children.get(row.pid) ?? []) : [];
      for (const [i, child] of under.entries()) {
        const later = under.length - 1 - i;
        const entry = under[later] ?? child;
        const isLast = later === under.length - 1;
        const deep = below.length >= DEEPEST * 2;
        stack.push({
          row: entry,
          branch: deep ? below : `${below}${isLast ? "`-" : "|-"}`,
          below: deep ? below : `${below}${isLast ? "  " : "| "}`,
        });
      }
    }
  };
  for (const root of roots) walk(root);
  // what is left are rings of tasks that are each other's parents
  for (const row of rows) if (!done.has(row)) walk(row);
  return out;
}

function childrenOf<T>(children: Map<number, T[]>, parent: number): T[] {
  const known = children.get(parent);
  if (known !== undefined) return known;
  const list: T[] = [];
  children.set(parent, list);
  return list;
}
