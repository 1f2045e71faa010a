#!/bin/bash
# One task of an array, under any scheduler that answers to qsub; `python -m fer.experiment submit` names the task by
# FER_TASKS, the list of the array, and by the scheduler's own index. A job that meets its walltime keeps what it has,
# is put back in the queue where the scheduler lets it, and ends with 85; a job that cannot even start Python says so
# in the task's file below FER_STATUS, where `python -m fer.experiment plan` finds it.

index="${FER_INDEX:-${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-${SLURM_ARRAY_TASK_ID:-}}}}"
job="${PBS_JOBID:-${SLURM_JOB_ID:-}}"
task="$(sed -n "${index}p" "$FER_TASKS")"

fail() {
    echo "gpu_jobs/job.sh: $1" >&2
    printf 'failed\t%s\t%s\t%s\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" "$(hostname)" "$job" "$1" \
        >> "$FER_STATUS/${task:-array-without-index}.txt"
    exit 1
}

[ -n "$index" ] && [ -n "$task" ] || fail "no task ${index:-without an array index} in $FER_TASKS"
cd "$FER_ROOT" || fail "$FER_ROOT: no such folder on $(hostname)"
complaint="$(mktemp)"
. gpu_jobs/environment.sh 2> "$complaint" || fail "gpu_jobs/environment.sh: $(tail -n 1 "$complaint")"
rm -f "$complaint"

# In the background, because a shell that waits for a command in the foreground passes no signal on.
"${FER_PYTHON[@]}" -m fer.experiment run --flagfile="$FER_JOBS/experiment.flags" --task="$task" &
python=$!
signalled=no
trap 'signalled=yes; kill -TERM "$python" 2> /dev/null' TERM USR1
wait "$python"
code=$?
while [ "$signalled" = yes ]; do  # what ended was wait, not yet Python
    signalled=no
    wait "$python"
    code=$?
done

case "$code" in
    0 | 1 | 85) ;;  # Python itself has said how it went
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
