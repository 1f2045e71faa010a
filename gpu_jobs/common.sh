# SPDX-License-Identifier: Apache-2.0
# Functions that the jobs share. They call `fail TEXT`, which each job defines: it reports one line and ends the job.

# Ends the job if TensorFlow finds no GPU, unless gpu_jobs/site.sh expects none.
require_gpu() {
    [ "$FER_GPU" = yes ] || return 0
    "${FER_PYTHON[@]}" -c 'import sys; from fer.tf1 import tf; sys.exit(not tf.config.list_physical_devices("GPU"))' ||
        fail "TensorFlow finds no GPU on $(hostname); set FER_GPU=no in gpu_jobs/site.sh if it has none"
}

# Runs Python with arguments, and sends it SIGTERM when this job receives SIGTERM or SIGUSR1. Sets `code` to its exit
# code, which is 85 if a signal stopped it.
run_python() {
    local signalled=no python=""
    trap 'signalled=yes; [ -z "$python" ] || kill -TERM "$python" 2> /dev/null' TERM USR1
    # In the background, because a shell does not pass signals to a command in the foreground.
    "${FER_PYTHON[@]}" "$@" &
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
        143 | 138) code=85 ;;  # SIGTERM or SIGUSR1 came before Python could catch it, and before the first step
    esac
}

# Puts this job back into the queue. Fails if the scheduler does not let users do so, or if the job was cancelled.
requeue() {
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        # After its walltime a job is COMPLETING TimeLimit. One that scancel or qdel ends would come back.
        [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format='%T %r' 2> /dev/null)" != "COMPLETING None" ] &&
            scontrol requeue "$SLURM_JOB_ID"
    elif [ -n "${PBS_JOBID:-}" ] && command -v qrerun > /dev/null; then
        qrerun "$PBS_JOBID"
    else
        return 1
    fi
}

# From here on for gpu_jobs/train.pbs and gpu_jobs/evaluate.pbs.

# Adds the flags in FLAGFILE and FLAGS to the array `arguments`. FLAGS come last, so that they override the file.
read_flags() {
    local words
    if [ -n "${FLAGFILE:-}" ]; then
        [ -r "$FLAGFILE" ] || fail "FLAGFILE=$FLAGFILE: no such file; give a path from $PWD, without a comma"
        arguments+=("--flagfile=$FLAGFILE")
    fi
    read -r -d '' -a words <<< "${FLAGS:-}"
    arguments+=("${words[@]}")
}

# Ends the job if `qsub -v` may have cut FLAGS. It splits at commas, so a cut FLAGS ends within a list such as
# --train_epochs=5,25. The rest is lost, or it arrives as a variable of a name such as `25 --seed`.
check_flags_are_whole() {
    local entry word name="" lists
    grep -qz '^FLAGS=.' "/proc/$$/environ" || return 0  # there are none, or they stand in the script
    while IFS= read -r -d '' entry; do
        [[ ! "${entry%%=*}" =~ ^[0-9-]|\ -- ]] ||
            fail "qsub -v cut FLAGS at the comma before '${entry%=}'; put the flags in a file and give FLAGFILE"
    done < "/proc/$$/environ"
    for word in "${arguments[@]}"; do
        [[ "$word" != -* ]] || name="${word%%=*}"
    done
    lists="$("${FER_PYTHON[@]}" -c 'from fer.runs.config import TrainConfig; from fer.settings import settings_of
print(*(name for name, one in settings_of(TrainConfig).items() if one.is_tuple))')"
    if [[ " $lists " = *" ${name##*-} "* && "$FLAGS" != *,* ]]; then
        fail "FLAGS ends with the list $name, and qsub -v cuts lists at their first comma; put it in a file and give" \
            "FLAGFILE, or put another flag after it if it is whole"
    fi
}

# Sends this job SIGUSR1 some seconds (FER_MARGIN) before its walltime, where `qstat -f` tells the walltime.
start_timer() {
    local hours minutes seconds
    IFS=: read -r hours minutes seconds < <(
        qstat -f "${PBS_JOBID:-${SLURM_JOB_ID:-}}" 2> /dev/null | sed -n 's/.*Resource_List.walltime = //p')
    [[ "$hours:$minutes:$seconds" =~ ^[0-9]+:[0-9]+:[0-9]+$ ]] || return 0
    seconds=$((10#$hours * 3600 + 10#$minutes * 60 + 10#$seconds - ${FER_MARGIN:-0}))
    [ "$seconds" -gt 0 ] || return 0
    (
        trap 'kill $!' TERM
        sleep "$seconds" &
        wait $! && kill -USR1 $$
    ) > /dev/null 2>&1 &
    timer=$!
}

# Runs a command of the repository's root in this job, and ends the job with its exit code.
run_job() {
    local code timer=""
    . gpu_jobs/environment.sh || exit 2
    check_flags_are_whole
    require_gpu
    start_timer
    run_python "$@"
    [ -z "$timer" ] || kill "$timer" 2> /dev/null
    if [ "$code" -eq 85 ]; then
        requeue || echo "stopped; repeat the same qsub to continue" >&2
    fi
    exit "$code"
}
