/** The look of a report: readable in a ticket, on paper, light and dark. */
export const STYLE: string = [
  ":root{color-scheme:light dark;--line:#dfe3e8;--soft:#566171;--bad:#b23a12;--fair:#8a5a00}",
  "@media(prefers-color-scheme:dark){:root{--line:#333a45;--soft:#a4afbe;--bad:#ff9068;--fair:#e5b252}}",
  "body{max-width:1000px;margin:32px auto;padding:0 20px;font:14px/1.5 system-ui,sans-serif}",
  "header p{margin:0;color:var(--soft)}h1{margin:0 0 20px;font-size:26px;overflow-wrap:anywhere}",
  "h2{margin:28px 0 8px;font-size:16px}h3{margin:14px 0 4px;font-size:14px}small{color:var(--soft);font-weight:400}",
  "summary h2{display:inline}summary{cursor:pointer;color:var(--soft)}",
  "table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}",
  "th{text-align:left;font-size:12px;color:var(--soft)}th,td{padding:4px 12px 4px 0;vertical-align:top;overflow-wrap:anywhere}",
  "td{border-top:1px solid var(--line)}",
  "dl{display:grid;grid-template-columns:170px 1fr;margin:0}dt,dd{margin:0;padding:4px 0;border-top:1px solid var(--line);overflow-wrap:anywhere}dt{color:var(--soft)}",
  "code,pre{font:12.5px/1.5 ui-monospace,Menlo,Consolas,monospace}pre{overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}",
  ".verdict{font-weight:600;color:#1a6f5b}.verdict.error,b.error{color:var(--bad)}b.warning{color:var(--fair)}b.note{color:var(--soft)}",
  ".map{width:100%}.map text{font:11px ui-monospace,Menlo,monospace;fill:#76808f}",
  ".legend{display:flex;flex-wrap:wrap;gap:4px 18px;padding:0;list-style:none}.legend svg{width:10px;margin-right:6px}",
  ".registers{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:2px 18px;margin:0}",
  ".registers i{display:inline-block;min-width:52px;color:var(--soft);font-style:normal}",
].join("");
