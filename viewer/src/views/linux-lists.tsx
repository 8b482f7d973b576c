import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import type { ModuleRow, MountRow, NetworkRows } from "../../../src/open/session/linux-protocol.js";
import { bytes, visible } from "../format.js";
import { texts } from "../texts.js";
import { GridList } from "../ui/grid-list.js";
import { structureLink } from "./structure-link.js";

const t = texts.linux;

function Filter({
  value,
  set,
}: {
  readonly value: string;
  readonly set: (text: string) => void;
}): JSX.Element {
  return (
    <label class="field">
      <input
        value={value}
        placeholder={t.filter}
        aria-label={t.filter}
        spellcheck={false}
        onInput={(event) => set(event.currentTarget.value)}
      />
    </label>
  );
}

/** Rows whose text holds what was typed. */
function useFilter<T>(rows: readonly T[], textOf: (row: T) => string): readonly [readonly T[], JSX.Element] {
  const [filter, setFilter] = useState("");
  const shown = useMemo(() => {
    const wanted = filter.trim().toLowerCase();
    return wanted === "" ? rows : rows.filter((row) => textOf(row).toLowerCase().includes(wanted));
  }, [rows, filter]);
  return [
    shown,
    <div key="filter" class="toolbar">
      <Filter value={filter} set={setFilter} />
      <span class="quiet" role="status">
        {t.rows(shown.length)}
      </span>
    </div>,
  ];
}

export function ModulesView({ modules }: { readonly modules: readonly ModuleRow[] }): JSX.Element {
  const [shown, toolbar] = useFilter(modules, ({ name }) => name);
  if (modules.length === 0) return <p class="quiet">{t.none}</p>;
  return (
    <>
      {toolbar}
      <GridList
        label={t.tabs.modules}
        columns={[
          { title: t.name, width: "minmax(0, 2fr)" },
          { title: t.size, width: "90px", isNumber: true },
          { title: t.address, width: "180px" },
          { title: t.taint, width: "80px" },
        ]}
        count={shown.length}
        cells={(index) => {
          const row = shown[index];
          if (row === undefined) return [];
          return [visible(row.name), bytes(row.size), structureLink("module", row.address), row.taint];
        }}
      />
    </>
  );
}

export function MountsView({ mounts }: { readonly mounts: readonly MountRow[] }): JSX.Element {
  const [shown, toolbar] = useFilter(mounts, ({ source, target, type }) => `${source} ${target} ${type}`);
  if (mounts.length === 0) return <p class="quiet">{t.none}</p>;
  return (
    <>
      {toolbar}
      <GridList
        label={t.tabs.mounts}
        columns={[
          { title: t.target, width: "minmax(0, 2fr)" },
          { title: t.kind, width: "110px" },
          { title: "", width: "34px" },
          { title: t.source, width: "minmax(0, 1fr)" },
          { title: t.structure, width: "180px" },
        ]}
        least={640}
        count={shown.length}
        cells={(index) => {
          const row = shown[index];
          if (row === undefined) return [];
          const { target, type, readOnly, source, address } = row;
          return [
            visible(target),
            visible(type),
            readOnly ? "ro" : "rw",
            visible(source),
            structureLink("mount", address),
          ];
        }}
      />
    </>
  );
}

export function NetworkView({ network }: { readonly network: NetworkRows }): JSX.Element {
  const { interfaces, sockets } = network;
  const [shown, toolbar] = useFilter(
    sockets,
    ({ protocol, state, local, remote, owners }) =>
      `${protocol} ${state} ${local} ${remote} ${owners.map(({ comm, pid }) => `${comm} ${pid}`).join(" ")}`,
  );
  return (
    <>
      <section class="card scroll-x">
        <table>
          <thead>
            <tr>
              <th>{t.interface}</th>
              <th>{t.state}</th>
              <th>{t.addresses}</th>
              <th>{t.hardware}</th>
              <th>MTU</th>
              <th>{t.namespace}</th>
            </tr>
          </thead>
          <tbody>
            {interfaces.map(({ namespace, index, name, up, mtu, hardwareAddress, addresses }) => (
              <tr key={`${namespace} ${index}`}>
                <td>{visible(name)}</td>
                <td>{up ? t.up : t.down}</td>
                <td>{visible(addresses.join(" "))}</td>
                <td>
                  <code>{visible(hardwareAddress)}</code>
                </td>
                <td>{mtu}</td>
                <td>{namespace}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {toolbar}
      {sockets.length === 0 && <p class="quiet">{t.noSockets}</p>}
      <GridList
        label={t.sockets}
        columns={[
          { title: t.protocol, width: "80px" },
          { title: t.state, width: "110px" },
          { title: t.local, width: "minmax(0, 2fr)" },
          { title: t.remote, width: "minmax(0, 1fr)" },
          { title: t.owners, width: "minmax(0, 2fr)" },
          { title: "struct sock", width: "180px" },
        ]}
        least={860}
        count={shown.length}
        cells={(index) => {
          const row = shown[index];
          if (row === undefined) return [];
          const { protocol, state, local, remote, owners, address } = row;
          return [
            protocol,
            state,
            visible(local),
            visible(remote),
            visible(owners.map(({ pid, comm, fd }) => `${comm}(${pid}):${fd}`).join(" ")),
            structureLink("sock", address),
          ];
        }}
      />
    </>
  );
}
