#!/usr/bin/env bash
# Creates the pinned Python environment (.venv in the repository root) that writes the fixtures.
# usage: reference/setup.sh [PYTHON]        default python3 (3.11 made the committed fixtures)
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-python3}"
"$python" -m venv .venv
# torch by itself and first: the CPU wheel is a tenth of the CUDA one. TORCH_INDEX_URL names another source if yours has no "+cpu" wheels.
torch=$(grep '^torch==' reference/requirements.txt)
.venv/bin/pip install --disable-pip-version-check "$torch" --index-url "${TORCH_INDEX_URL:-https://download.pytorch.org/whl/cpu}"
.venv/bin/pip install --disable-pip-version-check -r reference/requirements.txt
.venv/bin/python -c "import torch, diffusers, transformers; print(torch.__version__, diffusers.__version__, transformers.__version__)"
