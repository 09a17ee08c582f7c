#!/usr/bin/env bash
# Runs every script that writes fixtures (not true_size.py and run_*.py). PYTHON overrides the interpreter (.venv/bin/python).
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
for script in reference/*.py; do
  case "$(basename "$script")" in
    fixtures.py | true_size.py | run_*.py) continue ;;
  esac
  echo "== $script"
  "$python" "$script"
done
