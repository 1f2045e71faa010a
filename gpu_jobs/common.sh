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

# Puts this job back into the queue. Fails if the scheduler does not let users do so.
requeue() {
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        scontrol requeue "$SLURM_JOB_ID"
    elif [ -n "${PBS_JOBID:-}" ] && command -v qrerun > /dev/null; then
        qrerun "$PBS_JOBID"
    else
        return 1
    fi
}
