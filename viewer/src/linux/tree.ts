/** What places a task in the tree. */
interface Placed {
  readonly pid: number;
  readonly tgid: number;
  readonly ppid: number;
}

/**
 * Tasks with their children below them, threads below their process, in the order given. Tasks whose parents are not
 * there, or that are their own ancestors, begin trees of their own.
 */
export function inTree<T extends Placed>(
  rows: readonly T[],
): readonly { readonly row: T; readonly depth: number }[] {
  const leaders = new Set(rows.filter(({ pid, tgid }) => pid === tgid).map(({ pid }) => pid));
  const children = new Map<number, T[]>();
  const roots: T[] = [];
  for (const row of rows) {
    const parent = row.pid === row.tgid ? row.ppid : row.tgid;
    if (parent === row.pid || parent === 0 || !leaders.has(parent)) {
      roots.push(row);
      continue;
    }
    const list = children.get(parent);
    if (list === undefined) children.set(parent, [row]);
    else list.push(row);
  }
  const out: { row: T; depth: number }[] = [];
  const done = new Set<T>();
  const walk = (root: T): void => {
    const stack = [{ row: root, depth: 0 }];
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      if (done.has(top.row)) continue;
      done.add(top.row);
      out.push(top);
      const { row, depth } = top;
      const under = row.pid === row.tgid ? (children.get(row.pid) ?? []) : [];
      for (const child of under.toReversed()) stack.push({ row: child, depth: depth + 1 });
    }
  };
  for (const root of roots) walk(root);
  // what is left are rings of tasks that are each other's parents
  for (const row of rows) if (!done.has(row)) walk(row);
  return out;
}
