#!/bin/bash
# One task of an array, under any scheduler that answers to qsub; `python -m fer.experiment submit` names the task by
# FER_TASKS, the list of the array, and by the scheduler's own index. A job that meets its walltime keeps what it has,
# is put back in the queue where the scheduler lets it, and ends with 85; a job that cannot even start Python says so
# in the task's file below FER_STATUS, where `python -m fer.experiment plan` finds it.

index="${FER_INDEX:-${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-${SLURM_ARRAY_TASK_ID:-}}}}"
job="${PBS_JOBID:-${SLURM_JOB_ID:-}}"
task=""
if [ -n "$index" ]; then
    task="$(sed -n "${index}p" "$FER_TASKS")"
fi

fail() {
    echo "gpu_jobs/job.sh: $1" >&2
    for name in ${task:-$(cat "$FER_TASKS")}; do  # all of the array where nobody knows which
        printf 'failed\t%s\t%s\t%s\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" "$(hostname)" "$job" "$1" \
            >> "$FER_STATUS/$name.txt"
    done
    exit 1
}

[ -n "$index" ] || fail "no array index in PBS_ARRAY_INDEX, PBS_ARRAYID or SLURM_ARRAY_TASK_ID"
[ -n "$task" ] || fail "no line $index in $FER_TASKS"
cd "$FER_ROOT" || fail "$FER_ROOT: no such folder on $(hostname)"
complaint="$(mktemp)"
. gpu_jobs/environment.sh 2> "$complaint" || fail "gpu_jobs/environment.sh: $(tail -n 1 "$complaint")"
rm -f "$complaint"
if [ "$FER_GPU" = yes ]; then
    "${FER_PYTHON[@]}" -c 'import sys; from fer.tf1 import tf; sys.exit(not tf.config.list_physical_devices("GPU"))' ||
        fail "TensorFlow finds no GPU on $(hostname); FER_GPU in gpu_jobs/site.sh says that there is one"
fi

signalled=no
python=""
trap 'signalled=yes; [ -z "$python" ] || kill -TERM "$python" 2> /dev/null' TERM USR1
# In the background, because a shell that waits for a command in the foreground passes no signal on.
"${FER_PYTHON[@]}" -m fer.experiment run --flagfile="$FER_JOBS/experiment.flags" --task="$task" &
python=$!
[ "$signalled" = no ] || kill -TERM "$python"
wait "$python"
code=$?
while [ "$signalled" = yes ]; do  # what ended was wait, not yet Python
    signalled=no
    wait "$python"
    code=$?
done

case "$code" in
    0 | 1 | 85) ;;  # Python itself has said how it went
    143 | 138) code=85 ;;  # ended by SIGTERM or SIGUSR1 before it could catch them, and before there was a step to keep
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
