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
errors="$(mktemp)"
. gpu_jobs/environment.sh 2> "$errors" || fail "gpu_jobs/environment.sh: $(tail -n 1 "$errors")"
rm -f "$errors"
if [ "$FER_GPU" = yes ]; then
    "${FER_PYTHON[@]}" -c 'import sys; from fer.tf1 import tf; sys.exit(not tf.config.list_physical_devices("GPU"))' ||
        fail "TensorFlow finds no GPU on $(hostname); set FER_GPU=no in gpu_jobs/site.sh if it has none"
fi

signalled=no
python=""
trap 'signalled=yes; [ -z "$python" ] || kill -TERM "$python" 2> /dev/null' TERM USR1
# In the background, because a shell does not pass signals to a command in the foreground.
"${FER_PYTHON[@]}" -m fer.experiment run --flagfile="$FER_JOBS/experiment.flags" --task="$task" &
python=$!
[ "$signalled" = no ] || kill -TERM "$python"
wait "$python"
code=$?
while [ "$signalled" = yes ]; do  # the signal ended only `wait`, Python still runs
    signalled=no
    wait "$python"
    code=$?
done

case "$code" in
    0 | 1 | 85) ;;  # Python has written the status
    143 | 138) code=85 ;;  # SIGTERM or SIGUSR1 came before Python could catch it, and before the first step
    *) fail "python -m fer.experiment run ended with $code" ;;
esac

if [ "$code" -eq 85 ]; then
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        scontrol requeue "$SLURM_JOB_ID"
    elif command -v qrerun > /dev/null; then
        qrerun "$PBS_JOBID"
    fi
fi
exit "$code"
