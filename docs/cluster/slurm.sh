#!/bin/bash
# sbatch docs/cluster/slurm.sh
# Two nodes of eight cards each, one torchrun a node. The same job started again goes on from its last checkpoint; with
# --requeue Slurm does so itself after a node was lost or the time was up.
#SBATCH --job-name=dragoman
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=dragoman-%j.log
set -euo pipefail

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=4

srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc_per_node 8 \
    --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d --rdzv_endpoint "$head:29500" \
    -m dragoman train llm-srt-7b --data data --out out --workers 6 --micro_tokens 16384 --save_every 200
