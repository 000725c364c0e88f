#!/bin/sh
# The small base model that `rooms` starts from (assets/rooms-base), made from 2D pictures of rooms that no data set
# has, and from such rooms told in words. Takes hours on a CPU; a killed run goes on where it stopped.
#
#   sh scripts/3d/train/pretrain_rooms_base.sh [--out DIR] [overrides]
#
# `llava pretrain --help` lists the overrides.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd)
sh "$root/scripts/setup.sh"
exec "$root/.venv/bin/llava" pretrain "$@"
