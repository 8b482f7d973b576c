import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { missing, record } from "./figures.js";
import {
  clearOutput,
  compare,
  GUESTSCOPE,
  inMemory,
  medianSeconds,
  recordPeak,
  secondsOf,
} from "./harness.js";
import { makeQcow2 } from "./make-qcow2.js";
import { makeQevm } from "./make-qevm.js";
import { writeXenSave } from "./make-xen-save.js";

const MIB = 1 << 20;
const GIB = 2 ** 30;
const MEMORY_BAR = 150;
const OPEN_BAR = 0.3;

/** What the report says of this bench, and programs that it compares with. */
export const title = "Inputs in other files or elsewhere: snapshots in disk images, files of a web server.";
export const peers = ["nginx"];

/** Inputs that lie in others or elsewhere: snapshots in disk images, files of a web server. */
export async function run(): Promise<void> {
  await inMemory(async (folder) => {
    const [state, image] = [path.join(folder, "state.qevm"), path.join(folder, "disk.qcow2")];
    makeQevm(state, 16 * MIB);
    makeQcow2(image, state, 600 * GIB);
    const node = medianSeconds(`${process.execPath} -e 0`);
    record({
      name: "inspect: 600 GiB qcow2 with a snapshot, over node's start",
      values: secondsOf(`${GUESTSCOPE} inspect -q ${image}`).map((whole) => whole - node),
      unit: "s",
      most: OPEN_BAR,
    });

    makeQevm(state, 1024 * MIB);
    makeQcow2(image, state, 600 * GIB);
    const out = path.join(folder, "out");
    compare({
      name: "extract: 1 GiB state in a qcow2 image, to ELF",
      ours: `${GUESTSCOPE} extract -q ${image} ${out}`,
      peer: `${GUESTSCOPE} extract -q ${state} ${out}`,
      peerName: "the same state as a file",
      prepare: clearOutput(out, 1100),
      bar: 0.8,
    });
    recordPeak(
      { name: "extract from qcow2: memory", most: MEMORY_BAR },
      `${GUESTSCOPE} extract -q --force ${image} ${out}`,
    );
    for (const file of [state, image, out]) fs.rmSync(file, { force: true });
    await overHttp(folder);
  });
}

const PORT = 38_931;

/** A sparse save of 32 GiB behind nginx: requests and bytes of an inspection, and memory. */
async function overHttp(folder: string): Promise<void> {
  const nginx = ["/usr/sbin/nginx", "/usr/bin/nginx"].find((program) => fs.existsSync(program));
  if (nginx === undefined) {
    missing("inspect: 32 GiB Xen save over http", "nginx");
    return;
  }
  const save = path.join(folder, "large.save");
  writeXenSave(save, { pages: (32 * GIB) / 4096, order: "ascending", sparse: true });
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${folder}/t;`,
  );
  const configuration = path.join(folder, "nginx.conf");
  fs.writeFileSync(
    configuration,
    `daemon off; master_process off; error_log stderr crit; pid ${folder}/pid; events {}
     http { access_log off; ${temporary.join(" ")} server { listen 127.0.0.1:${PORT}; location / { alias ${folder}/; } } }`,
  );
  const server = spawn(nginx, ["-p", folder, "-c", configuration], { stdio: "ignore" });
  try {
    await pause(1000);
    const command = `${GUESTSCOPE} inspect http://127.0.0.1:${PORT}/large.save`;
    const seconds: number[] = [];
    let said = "";
    for (let round = 0; round < 3; round += 1) {
      const began = performance.now();
      said = spawnSync("sh", ["-c", command], { encoding: "utf8" }).stderr;
      seconds.push((performance.now() - began) / 1000);
    }
    const [, requests = "?", bytes = "?"] = /: ([\d,]+) requests, (.* of .*?)$/m.exec(said) ?? [];
    record({
      name: `inspect: 32 GiB Xen save over http (${requests} requests, ${bytes})`,
      values: seconds,
      unit: "s",
    });
    recordPeak({ name: "inspect over http: memory", most: MEMORY_BAR }, command);
  } finally {
    server.kill();
  }
}
