#!/bin/sh
# sh scripts/3d/eval/eval_multi3drefer.sh CKPT STRATEGY MAX_FRAMES
exec sh "$(dirname -- "$0")/evaluate.sh" multi3drefer "$@"
