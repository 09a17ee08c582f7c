#!/usr/bin/env bash
# The package as a stranger gets it: packs this folder, installs the tarball into an empty project, then uses the command, the module and the
# embedded model from there. Called by .ci/run; needs the registry, and ONNXRUNTIME_NODE_INSTALL=skip to keep the download small.
set -euo pipefail
cd "$(dirname "$0")/../.."
export ONNXRUNTIME_NODE_INSTALL="${ONNXRUNTIME_NODE_INSTALL:-skip}"

version="$(node -p 'require("./package.json").version')"
project="$(mktemp -d)"
trap 'rm -rf "$project"' EXIT

npm pack --silent --pack-destination "$project" >/dev/null
cd "$project"
echo '{ "name": "stranger", "private": true, "type": "module" }' >package.json
npm install --silent --no-audit --no-fund "./halftone-$version.tgz"

expect() {
  if [[ "$2" != "$3" ]]; then
    echo "package: $1 is \"$2\", expected \"$3\"" >&2
    exit 1
  fi
  echo "package: $1 is \"$2\""
}

expect "halftone --version" "$(npx --no-install halftone --version)" "$version"
expect "the type of DiffusionPipeline" "$(node -e 'import("halftone").then((m) => console.log(typeof m.DiffusionPipeline))')" "function"
expect "what generate prints" "$(npx --no-install halftone generate "a red apple on a blue background" --seed 0 --steps 2 --output apple.png)" "apple.png"
expect "the beginning of apple.png" "$(head -c 8 apple.png | od -An -tx1 | tr -d ' \n')" "89504e470d0a1a0a"
