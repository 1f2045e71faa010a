# SPDX-License-Identifier: Apache-2.0
# Sets FER_PYTHON, the command that runs Python: loads modules, then uses a virtual environment or a container.
# Jobs and people source it with bash in the repository's root:
#   . gpu_jobs/environment.sh && "${FER_PYTHON[@]}" train.py ...
# Outside a job it first makes the virtual environment if it is missing.

. "${FER_SITE:-gpu_jobs/site.sh}" || return 1

if [ -n "$FER_MODULES" ]; then
    for init in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do  # the shell of a job may not have read these
        type module > /dev/null 2>&1 || { [ -r "$init" ] && . "$init"; }
    done
    module load $FER_MODULES || return 1
fi

if [ -n "$FER_CONTAINER" ]; then
    FER_PYTHON=(apptainer exec $FER_CONTAINER_FLAGS "$FER_CONTAINER" python)
else
    if [ -z "$FER_VENV" ]; then
        echo "FER_VENV: empty, and so is FER_CONTAINER; set one of them in ${FER_SITE:-gpu_jobs/site.sh}" >&2
        return 1
    fi
    if [ ! -e "$FER_VENV/bin/python" ] && [ -z "${PBS_JOBID:-}${SLURM_JOB_ID:-}" ]; then
        python3 fer/interpreter.py || return 1
        echo "making $FER_VENV, which takes some minutes" >&2
        lock="requirements/$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt"
        offline=""
        [ -z "${FER_WHEELHOUSE:-}" ] || offline="--no-index --find-links=$FER_WHEELHOUSE"
        # The mark `unfinished` keeps an incomplete environment from being used.
        python3 -m venv --clear "$FER_VENV" && touch "$FER_VENV/unfinished" &&
            "$FER_VENV/bin/python" -m pip install --quiet $offline --constraint "$lock" --editable '.[gpu]' &&
            rm "$FER_VENV/unfinished" || return 1
    fi
    if [ ! -x "$FER_VENV/bin/python" ] || [ -e "$FER_VENV/unfinished" ]; then
        echo "$FER_VENV: no complete environment; delete it and source gpu_jobs/environment.sh outside a job, or change FER_VENV in ${FER_SITE:-gpu_jobs/site.sh}" >&2
        return 1
    fi
    FER_PYTHON=("$FER_VENV/bin/python")
fi
