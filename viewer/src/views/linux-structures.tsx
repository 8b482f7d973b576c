import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { StructureRow, StructureView } from "../../../src/open/session/linux-protocol.js";
import type { Problem } from "../../../src/open/session/protocol.js";
import { bytes, hex, visible } from "../format.js";
import { asProblem } from "../session/client.js";
import type { OpenFile } from "../state/files.js";
import { go, route } from "../state/route.js";
import { texts } from "../texts.js";
import { BackAndForward } from "../ui/back-and-forward.js";
import { GridList } from "../ui/grid-list.js";
import { ProblemBox } from "../ui/loaded.js";
import { bytesLink, structureLink } from "./structure-link.js";

const t = texts.linux;
const INDENT = 16;

/** Structures that a reader of a kernel meets first. */
const USUAL = [
  "task_struct",
  "mm_struct",
  "vm_area_struct",
  "cred",
  "files_struct",
  "file",
  "dentry",
  "inode",
  "super_block",
  "mount",
  "nsproxy",
  "module",
  "net_device",
  "sock",
  "socket",
  "page",
  "rq",
  "pid",
  "list_head",
];
const FIRST = { type: "task_struct", at: "init_task" };

const show = (type: string, at: string): void =>
  go({ view: "linux", params: { tab: "structures", type, ...(at === "" ? {} : { at }) } });

/** The kernel's structures by its own types: what they are made of, what they hold, where their pointers lead. */
export function StructuresView({ file }: { readonly file: OpenFile }): JSX.Element {
  const { params } = route.value;
  const type = params.type ?? FIRST.type;
  const at = params.type === undefined ? FIRST.at : (params.at ?? "");
  const [typedType, setType] = useState(type);
  const [typedAt, setAt] = useState(at);
  const [view, setView] = useState<StructureView>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    let isCurrent = true;
    setType(type);
    setAt(at);
    setProblem(undefined);
    file.client.call("linuxStructure", { name: type, ...(at === "" ? {} : { at }) }).then(
      (found) => isCurrent && setView(found),
      (error: unknown) => {
        if (!isCurrent) return;
        setView(undefined);
        setProblem(asProblem(error));
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [file, type, at]);
  return (
    <>
      <form
        class="toolbar"
        onSubmit={(event) => {
          event.preventDefault();
          show(typedType.trim(), typedAt.trim());
        }}
      >
        <label class="field">
          <span>struct</span>
          <input
            list="structures"
            value={typedType}
            aria-label={t.structure}
            spellcheck={false}
            onInput={(event) => setType(event.currentTarget.value)}
          />
        </label>
        <datalist id="structures">
          {USUAL.map((name) => (
            <option key={name} value={name} />
          ))}
        </datalist>
        <label class="field">
          <span>{t.atPlace}</span>
          <input
            value={typedAt}
            placeholder={t.placeHint}
            aria-label={t.placeLabel}
            spellcheck={false}
            onInput={(event) => setAt(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="button">
          {t.show}
        </button>
        <BackAndForward />
        {view !== undefined && (
          <span class="quiet" role="status">
            {visible(view.name)}, {bytes(view.size)}
            {view.address !== undefined && <> · {bytesLink("kernel", view.address)}</>}
          </span>
        )}
      </form>
      {problem !== undefined && <ProblemBox problem={problem} />}
      {view !== undefined && <Members key={`${type} ${at}`} view={view} />}
    </>
  );
}

function Members({ view }: { readonly view: StructureView }): JSX.Element {
  const { rows, address, leftOut } = view;
  const follow = ({ target, pointer }: StructureRow): void => {
    if (pointer === undefined) return;
    if (target === undefined) go({ view: "hex", params: { space: "kernel", at: hex(pointer) } });
    else show(target, hex(pointer));
  };
  return (
    <>
      <GridList
        label={view.name}
        columns={[
          { title: t.offset, width: "76px", isNumber: true },
          { title: t.member, width: "minmax(0, 2fr)" },
          ...(address === undefined ? [] : [{ title: t.value, width: "minmax(0, 3fr)" }]),
          { title: t.type, width: "minmax(0, 2fr)" },
          { title: t.size, width: "64px", isNumber: true },
        ]}
        least={720}
        count={rows.length}
        onOpen={(index) => {
          const row = rows[index];
          if (row !== undefined) follow(row);
        }}
        cells={(index) => {
          const row = rows[index];
          if (row === undefined) return [];
          return [
            <code key="offset" class="quiet">
              {hex(row.offset)}
              {row.bit !== undefined && `:${row.bit}`}
            </code>,
            <code key="name" style={{ paddingInlineStart: `${row.depth * INDENT}px` }}>
              {visible(row.name)}
            </code>,
            ...(address === undefined ? [] : [<Value key="value" row={row} />]),
            <code key="type" class="quiet">
              {visible(row.type)}
            </code>,
            row.bits === undefined ? String(row.size) : t.bits(row.bits),
          ];
        }}
      />
      {leftOut > 0 && <p class="quiet">{t.membersLeftOut(leftOut)}</p>}
    </>
  );
}

function Value({ row }: { readonly row: StructureRow }): JSX.Element | null {
  const { value, pointer, target, symbol } = row;
  if (value === undefined) return null;
  if (pointer === undefined) return <code>{visible(value)}</code>;
  return (
    <>
      {target === undefined ? bytesLink("kernel", pointer) : structureLink(target, pointer)}
      {symbol !== undefined && <span class="symbol"> {visible(symbol)}</span>}
    </>
  );
}
