#!/bin/sh
# An example of `train_multi.sh` on a cluster with Slurm: one task a machine, which starts a process for each GPU.
#
#   sbatch --nodes 2 scripts/3d/train/train_slurm.sh [RECIPE] [overrides]
#
# Call it in the repository, which all machines must see under one path, data, checkpoints and results with it.
# A job that ran out of time goes on where it stopped when it is submitted again.
#SBATCH --job-name=video3d
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%j.log
set -eu
cd "$SLURM_SUBMIT_DIR" # Slurm runs a copy of this file
sh scripts/setup.sh    # once, before all machines look for it

NNODES=$SLURM_JOB_NUM_NODES
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000)) # jobs that share a machine do not share a port
export NNODES MASTER_ADDR MASTER_PORT
# shellcheck disable=SC2016  # each task expands it, not this shell
exec srun --kill-on-bad-exit=1 sh -c 'NODE_RANK=$SLURM_NODEID exec sh scripts/3d/train/train_multi.sh "$@"' sh "$@"
