#!/bin/sh
# Data, training, evaluation on the five benchmarks, report; a killed run goes on where it stopped.
#
#   sh scripts/3d/train/train_multi.sh [RECIPE] [overrides]
#
# Without a recipe: the published one where a complete ScanNet folder `data` stands and the recipe names a checkpoint
# to start from, else `rooms`.
# `llava run --help` lists the overrides.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd)
sh "$root/scripts/setup.sh"
exec "$root/.venv/bin/llava" run "$@"
