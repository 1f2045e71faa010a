#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs one task of a job array, under any scheduler with a qsub. `python -m fer.experiment submit` writes the tasks of the
# array to the file FER_TASKS. The scheduler's array index is the number of the line with this job's task.
# A job that reaches its walltime saves its work, is requeued if the scheduler allows it, and ends with 85.
# A job that cannot start Python writes the reason to the task's file below FER_STATUS, where
# `python -m fer.experiment plan` finds it.

index="${FER_INDEX:-${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-${SLURM_ARRAY_TASK_ID:-}}}}"
job="${PBS_JOBID:-${SLURM_JOB_ID:-}}"
task=""
if [ -n "$index" ]; then
    task="$(sed -n "${index}p" "$FER_TASKS")"
fi

fail() {
    echo "gpu_jobs/job.sh: $1" >&2
    for name in ${task:-$(cat "$FER_TASKS")}; do  # all tasks of the array if this job's task is unknown
        printf 'failed\t%s\t%s\t%s\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" "$(hostname)" "$job" "$1" \
            >> "$FER_STATUS/$name.txt"
    done
    exit 1
}

[ -n "$index" ] || fail "no array index in PBS_ARRAY_INDEX, PBS_ARRAYID or SLURM_ARRAY_TASK_ID"
[ -n "$task" ] || fail "no line $index in $FER_TASKS"
cd "$FER_ROOT" || fail "$FER_ROOT: no such folder on $(hostname)"
. gpu_jobs/common.sh || fail "gpu_jobs/common.sh: missing in $FER_ROOT"
errors="$(mktemp)"
. gpu_jobs/environment.sh 2> "$errors" || fail "gpu_jobs/environment.sh: $(tail -n 1 "$errors")"
rm -f "$errors"
require_gpu
run_python -m fer.experiment run --flagfile="$FER_JOBS/experiment.flags" --task="$task"

case "$code" in
    0 | 1) ;;  # Python has written the status
    85) requeue ;;
    *) fail "python -m fer.experiment run ended with $code" ;;
esac
exit "$code"
