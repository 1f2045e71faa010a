# Sets FER_PYTHON, the command that is Python: from modules, then a virtual environment or a container. To be sourced in
# the repository's root, by jobs and by hand: `. gpu_jobs/environment.sh && "${FER_PYTHON[@]}" -m fer.experiment ...`
# Makes the environment first if there is none and this is no job.

. "${FER_SITE:-gpu_jobs/site.sh}"

if [ -n "$FER_MODULES" ]; then
    module load $FER_MODULES || return 1
fi

if [ -n "$FER_CONTAINER" ]; then
    FER_PYTHON=(apptainer exec --nv "$FER_CONTAINER" python)
else
    if [ ! -x "$FER_VENV/bin/python" ] && [ -z "${PBS_JOBID:-}${SLURM_JOB_ID:-}" ]; then
        python3 -m venv "$FER_VENV" && "$FER_VENV/bin/pip" install --quiet --editable '.[gpu]' || return 1
    fi
    if [ ! -x "$FER_VENV/bin/python" ]; then
        echo "no $FER_VENV/bin/python; expected an environment, see FER_VENV in gpu_jobs/site.sh" >&2
        return 1
    fi
    FER_PYTHON=("$FER_VENV/bin/python")
fi
