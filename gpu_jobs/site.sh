# What this cluster wants to know; the only file here that a site has to edit.

FER_QUEUE=""                # qsub -q; empty is the default queue
# What a job asks for besides its walltime, as this site's scheduler spells it. One GPU with some cores:
#   OpenPBS   select=1:ncpus=4:mem=24gb:ngpus=1:gpu_type=RTX6000
#   Torque    nodes=1:ppn=4:gpus=1,mem=24gb
#   Slurm     nodes=1:ppn=4,mem=24gb,naccelerators=1
FER_RESOURCES=""
FER_WALLTIME="24:00:00"
FER_MARGIN="300"            # seconds before the end of the walltime when a run is stopped and kept
# Jobs in a row for each run. Slurm requeues a job that met its walltime; PBS lets only operators do that, so that there
# a run longer than a walltime needs as many attempts as walltimes. An attempt at a run that is done ends at once.
FER_ATTEMPTS="1"
# Most jobs of an array that the server takes (OpenPBS: qmgr -c "print server" | grep max_array_size). A wider array is
# split into several. 0 is any number.
FER_MAX_ARRAY="0"
FER_THROTTLE="0"            # jobs of an array that may run at the same time; 0 is any number
FER_GPU="yes"               # a job that finds no GPU fails; "no" where the CPU is meant

FER_MODULES=""              # module load ...: "python/3.11 cuda/12.2"
FER_VENV=".venv-gpu"        # virtual environment, from the repository's root, made by gpu_jobs/environment.sh
FER_WHEELHOUSE=""           # folder of wheels that `make wheelhouse` filled, where nodes have no internet
# Instead of it, an image for apptainer exec, such as "/shared/fer.sif" (requirements/apptainer.def). What submits runs outside it, with python3 and
# absl-py of the login node.
FER_CONTAINER=""
FER_CONTAINER_FLAGS="--nv"  # what else apptainer exec wants: "--nv --bind /data"
