#!/bin/sh
# sh scripts/3d/eval/eval_scan2cap.sh CKPT STRATEGY MAX_FRAMES
exec sh "$(dirname -- "$0")/evaluate.sh" scan2cap "$@"
