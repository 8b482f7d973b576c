import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { fixtures } from "../shared.js";

/** What must never reach a terminal from an input. */
export const RAW = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
/** Clears the screen, sets the title, is red, in seven bits and eight, turns the direction of text. */
export const EVIL = "\u001b[2J\u001b]0;owned\u0007\u001b[31m\u009b31m\u202e\r\u0008\u007f";

/**
 * Writes inputs whose names and contents are full of control characters into a folder, beside one another: NAME, a save
 * whose guest's name is hostile; NAME.torn, half of it; NAME.text, nothing but control characters.
 * @returns NAME
 */
export function writeHostileInputs(folder: string): string {
  const name = path.join(folder, `e${EVIL.replaceAll("/", "")}`);
  const evil = zlib.gunzipSync(fs.readFileSync(path.join(fixtures, "demo/web01.legacy.gz")));
  evil.write("\u001b[2Jx", evil.indexOf("legacy-hvm64"), "latin1");
  fs.writeFileSync(name, evil);
  fs.writeFileSync(`${name}.torn`, evil.subarray(0, evil.length / 2));
  fs.writeFileSync(`${name}.text`, `${EVIL}${EVIL}`);
  return name;
}

/** Command lines of one command with each of the hostile inputs, a hostile output and a hostile option. */
export function hostileCalls(command: string, name: string, folder: string): string[][] {
  return [
    [command, name],
    [command, name, path.join(folder, `${command}\u001b[2J.out`)],
    [command, `${name}.torn`],
    [command, `${name}.text`],
    [command, `${name}.missing`],
    [command, "--json", name],
    [command, `--${EVIL}`],
  ];
}
