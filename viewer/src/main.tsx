import { render } from "preact";
import { App } from "./app.js";
import { openServed } from "./state/opening.js";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/views.css";
import "./styles/bytes.css";

const root = document.getElementById("app");
if (root !== null) {
  openServed();
  render(<App />, root);
}
