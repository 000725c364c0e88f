#!/bin/sh
# sh scripts/3d/eval/eval_sqa3d.sh CKPT STRATEGY MAX_FRAMES
exec sh "$(dirname -- "$0")/evaluate.sh" sqa3d "$@"
