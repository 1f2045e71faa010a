# Sets up what runs Python: modules, then a virtual environment or a container. To be sourced in the repository's root,
# by jobs and by hand: `. gpu_jobs/environment.sh && fer_python -m fer.experiment plan --table=6.3`
# Makes the environment first if there is none and this is no job.

. "${FER_SITE:-gpu_jobs/site.sh}"

if [ -n "$FER_MODULES" ]; then
    module load $FER_MODULES || return 1
fi

if [ -n "$FER_CONTAINER" ]; then
    fer_python() { apptainer exec --nv "$FER_CONTAINER" python "$@"; }
else
    if [ ! -x "$FER_VENV/bin/python" ] && [ -z "${PBS_JOBID:-}${SLURM_JOB_ID:-}" ]; then
        python3 -m venv "$FER_VENV" && "$FER_VENV/bin/pip" install --quiet --editable '.[gpu]' || return 1
    fi
    if [ ! -x "$FER_VENV/bin/python" ]; then
        echo "no $FER_VENV/bin/python; expected an environment, see FER_VENV in gpu_jobs/site.sh" >&2
        return 1
    fi
    fer_python() { "$FER_VENV/bin/python" "$@"; }
fi
