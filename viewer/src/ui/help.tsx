import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { helpOpen } from "../state/keys.js";
import { texts } from "../texts.js";

export function Help(): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = helpOpen.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  const close = (): void => {
    helpOpen.value = false;
  };
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={close}>
      <div class="card-head">
        <h2 id="help-title">{texts.help.title}</h2>
        <button type="button" class="button" onClick={close}>
          {texts.help.close}
        </button>
      </div>
      <dl>
        {texts.help.keys.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </dialog>
  );
}
