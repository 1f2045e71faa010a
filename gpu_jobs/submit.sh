#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Submits the runs of tables and all runs that they need, with this site's settings. One script for every table:
#   gpu_jobs/submit.sh --table=6.3 --seeds=5
# The flags are those of `python -m fer.experiment submit`.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
. gpu_jobs/environment.sh || exit 2
if [ -n "$FER_CONTAINER" ]; then  # a container has no qsub, so Python of the login node submits
    FER_PYTHON=(python3)
fi
"${FER_PYTHON[@]}" -m fer.experiment submit --site="${FER_SITE:-gpu_jobs/site.sh}" --queue="$FER_QUEUE" \
    --resources="$FER_RESOURCES" --walltime="$FER_WALLTIME" --margin="$FER_MARGIN" --attempts="$FER_ATTEMPTS" \
    --max_array="${FER_MAX_ARRAY:-0}" --throttle="${FER_THROTTLE:-0}" "$@"
