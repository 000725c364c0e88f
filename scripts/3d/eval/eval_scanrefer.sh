#!/bin/sh
# sh scripts/3d/eval/eval_scanrefer.sh CKPT STRATEGY MAX_FRAMES
exec sh "$(dirname -- "$0")/evaluate.sh" scanrefer "$@"
