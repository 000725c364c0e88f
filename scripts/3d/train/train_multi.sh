#!/bin/sh
# Data, training, evaluation on the five benchmarks, report; a killed run goes on where it stopped.
#
#   sh scripts/3d/train/train_multi.sh [RECIPE] [overrides]
#
# Without a recipe: the published one where a complete ScanNet folder `data` stands and the recipe names a checkpoint
# to start from, else `rooms`.
# `llava run --help` lists the overrides, `llava plan RECIPE --gpus N --memory 80` says whether they fit.
#
# All GPUs of the machine take part, a process each. In the environment:
#   NUM_GPUS   fewer of them; without a GPU, processes on the CPU
#   NNODES     machines that take part; each runs this script, with
#   NODE_RANK  0, 1, ... and MASTER_ADDR, the name of the one with rank 0 (MASTER_PORT: a free port there, else 29500)
# train_slurm.sh beside this script sets them on a cluster.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd)
sh "$root/scripts/setup.sh"
exec "$root/.venv/bin/llava" run "$@"
