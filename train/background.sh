#!/usr/bin/env bash
# Runs a training script so that other work on the machine hardly notices: the lowest priority, and on Linux also for its whole
# session, since the scheduler groups processes by session and niceness alone counts within a group only.
# usage: train/background.sh NAME.py [ARGUMENT...]     Python: $PYTHON, by default .venv/bin/python; output: FOLDER/NAME.out
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${HALFTONE_TRAIN_DIR:-$HOME/.cache/halftone-train}
script=$1
shift
mkdir -p "$folder"
# a thread that waits must not spin on a core that others could use
export OMP_WAIT_POLICY=PASSIVE
setsid nohup bash -c 'echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 "$@"' background \
  "${PYTHON:-$here/../.venv/bin/python}" "$here/$script" "$@" >>"$folder/${script%.py}.out" 2>&1 &
echo "$script runs in the background; log: $folder/${script%.py}.out"
