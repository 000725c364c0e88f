#!/bin/sh
# What the five eval_<benchmark>.sh share: `llava eval` with one benchmark; `--tasks all` answers the five in one pass.
# Answers and scores go to results/<benchmark>/.
# The scenes are shared out among all GPUs; NUM_GPUS, NNODES ... in the environment as for train_multi.sh.
set -eu
if [ $# -lt 4 ]; then
    echo "usage: sh scripts/3d/eval/eval_$1.sh CKPT STRATEGY MAX_FRAMES [options of \`llava eval\`]" >&2
    echo "  STRATEGY: uniform, mc, mc-ratio95 or mc-ratio90" >&2
    exit 2
fi
benchmark=$1 checkpoint=$2 strategy=$3 frames=$4
shift 4
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd)
sh "$root/scripts/setup.sh"
exec "$root/.venv/bin/llava" eval "$checkpoint" --tasks "$benchmark" --strategy "$strategy" --frames "$frames" "$@"
