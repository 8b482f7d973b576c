import * as fs from "node:fs";
import * as path from "node:path";
import { findingsDocument } from "../src/open/findings-document.js";

/** Writes docs/findings.md from the rules as declared. */
fs.writeFileSync(path.resolve(import.meta.dirname, "../docs/findings.md"), findingsDocument());
