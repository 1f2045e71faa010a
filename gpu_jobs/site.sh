# SPDX-License-Identifier: Apache-2.0
# The settings of this cluster, the only file here that a site has to edit.

FER_QUEUE=""                # qsub -q; empty is the default queue
# Resources of a job except its walltime, in the scheduler's own spelling. One GPU with some cores:
#   OpenPBS   select=1:ncpus=4:mem=24gb:ngpus=1:gpu_type=RTX6000
#   Torque    nodes=1:ppn=4:gpus=1,mem=24gb
#   Slurm     nodes=1:ppn=4,mem=24gb,naccelerators=1
FER_RESOURCES=""
FER_WALLTIME="24:00:00"
FER_MARGIN="300"            # seconds before the end of the walltime when a run is stopped and saved
# Successive jobs for each run. Slurm requeues a job that reached its walltime. On PBS only operators can requeue, so a
# run that is longer than one walltime needs a job for each walltime. A job for a finished run ends at once.
FER_ATTEMPTS="1"
# Maximum number of jobs of an array on this server (OpenPBS: qmgr -c "print server" | grep max_array_size). A larger
# array is split. 0 is any number.
FER_MAX_ARRAY="0"
FER_THROTTLE="0"            # jobs of an array that may run at the same time, 0 is any number
FER_GPU="yes"               # "yes": a job without a GPU fails, "no": jobs run on the CPU

FER_MODULES=""              # arguments of `module load`: "python/3.11 cuda/12.2"
FER_VENV=".venv-gpu"        # virtual environment, relative to the repository's root, made by gpu_jobs/environment.sh
FER_WHEELHOUSE=""           # folder of wheels from `make wheelhouse`, for nodes without internet
# A container image instead of a virtual environment, such as "/shared/fer.sif" (requirements/apptainer.def). Jobs are
# submitted outside the container, with python3 and absl-py of the login node.
FER_CONTAINER=""
FER_CONTAINER_FLAGS="--nv"  # further flags of `apptainer exec`: "--nv --bind /data"
