import * as fs from "node:fs";
import * as path from "node:path";
import { validate as validateContainerFile } from "dockerfile-utils";
import { Deployment, StatefulSet } from "kubernetes-models/apps/v1";
import { Job } from "kubernetes-models/batch/v1";
import { Service } from "kubernetes-models/v1";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { createParser } from "../src/cli/command.js";
import { command as submit } from "../src/cli/submit.js";
import { command as work } from "../src/cli/work.js";
import { parseShard } from "../src/sources/shard.js";
import { FLEET_VERSION } from "../src/version.js";

/** Severity of the language server protocol. */
const ERROR = 1;
const deploy = path.resolve(import.meta.dirname, "../deploy");
const KINDS = { Job, Deployment, StatefulSet, Service };
type Kind = keyof typeof KINDS;
interface Manifest {
  readonly kind: Kind;
  readonly spec: {
    readonly completions?: number;
    readonly template: { readonly spec: { readonly containers: readonly { readonly args: string[] }[] } };
  };
}

function manifests(file: string): Manifest[] {
  return parseAllDocuments(fs.readFileSync(path.join(deploy, file), "utf8")).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Manifest;
  });
}

describe("manifests for Kubernetes", () => {
  it.each(fs.readdirSync(deploy).filter((name) => name.endsWith(".yaml")))(
    "%s keeps to the schema",
    (file) => {
      for (const manifest of manifests(file)) {
        const Model = KINDS[manifest.kind] as new (data: never) => { validate(): void };
        expect(() => new Model(manifest as never).validate()).not.toThrow();
        // the check sees what is wrong
        const broken = structuredClone(manifest) as unknown as { spec: Record<string, unknown> };
        broken.spec = { ...broken.spec, selector: "all", completions: "eight" };
        expect(() => new Model(broken as never).validate()).toThrow();
      }
    },
  );

  it("calls commands with options that they have, and as many parts as pods", () => {
    const [job] = manifests("indexed-job.yaml");
    const [, ...submitArgs] = job?.spec.template.spec.containers[0]?.args ?? [];
    const parsed = createParser(submit, "").parse_args<{ shard: string }>(submitArgs);
    expect(parseShard(parsed.shard, { JOB_COMPLETION_INDEX: "3" })).toEqual({
      index: 3,
      count: job?.spec.completions,
    });
    const [deployment] = manifests("workers.yaml");
    const [, ...workArgs] = deployment?.spec.template.spec.containers[0]?.args ?? [];
    expect(createParser(work, "").parse_args(workArgs)).toMatchObject({
      concurrency: 2,
      reports: "/reports",
    });
  });
});

it("the container file has no fault a linter sees", () => {
  const text = fs.readFileSync(path.join(deploy, "Containerfile"), "utf8");
  const errors = (content: string): unknown[] =>
    validateContainerFile(content).filter(({ severity }) => severity === ERROR);
  expect(errors(text)).toEqual([]);
  expect(errors(text.replace("WORKDIR /work", "WORKDER /work")).length).toBe(1);
});

it("the version is the package's", () => {
  const manifest = JSON.parse(fs.readFileSync(path.resolve(deploy, "../package.json"), "utf8")) as {
    version: string;
  };
  expect(FLEET_VERSION).toBe(manifest.version);
});
