# SPDX-License-Identifier: Apache-2.0
"""Names of the files in a run folder (docs/run-folder.md lists what they hold)."""

# Training
FLAGS_FILE = 'flags.txt'  # a flagfile that replays the run
AUDIO_FLAGS_FILE, VISUAL_FLAGS_FILE = 'audio_flags.txt', 'visual_flags.txt'  # of the runs that early fusion joins
ENVIRONMENT_FILE = 'environment.json'  # a run resumed at a step adds environment_<step>.json
RESTORED_FILE = 'restored.txt'  # each variable: where it was restored from, or why it is fresh
CONVENTION_FILE = 'convention.json'  # the network's conventions for its input and layers
SCALING_FILE = 'audio_scaling.txt'  # mean and deviation of each audio feature in the training set
CLASS_COUNTS_FILE = 'class_counts.json'  # training videos of each class, in the order of the logits
SAMPLE_RATES_FILE = 'sample_rates.csv'  # of the training set's audio
PREPARE_FLAGS_FILE = 'prepare_flags.json'  # by manifest, the flags that its data were prepared with
BAD_FRAMES_FILE = 'bad_frames.csv'  # skipped lines of manifests, for evaluation in bad_frames_<split>.csv
LOCK_FILE = 'lock.json'  # names the job that writes to the folder
TRAIN_LOG, VALIDATION_LOG = 'train_log.csv', 'val_log.csv'
CURVES_FILE = 'curves.png'
FINISHED_FILE = 'finished.json'  # last step, reason of the end, and the checkpoint to evaluate

# Checkpoints: TensorFlow's state files, and the prefixes of the checkpoints that they name.
LAST_STATE, BEST_STATE = 'checkpoint', 'best_checkpoint'
LAST_PREFIX, BEST_PREFIX = 'model.ckpt', 'best.ckpt'

# A network of the starter set (fer/starter/): its name in --init_from begins with the prefix.
STARTER_PREFIX = 'starter:'

STATUS_FOLDER = 'status'  # in the folder of all runs, with a file for each task
