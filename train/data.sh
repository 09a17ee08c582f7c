#!/usr/bin/env bash
# Installs the icon set and its renderer from npm into the training folder and draws the subjects. About 20 seconds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${HALFTONE_TRAIN_DIR:-$HOME/.cache/halftone-train}
mkdir -p "$folder/npm"
cd "$folder/npm"
[ -f package.json ] || echo '{"private":true}' >package.json
npm install --no-audit --no-fund --save-exact @iconify-json/fluent-emoji-flat@1.2.6 sharp@0.35.5
node "$here/render.mjs" "$folder/npm" "$folder/icons"
