"""The flags of `train.py`, in one place for the commands that train and for those that compare settings."""

import functools
from typing import Any

from absl import flags

flags.disclaim_key_flags()  # they belong to the command that defines them


def define_train_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines every flag of `train.py` among `values`, by default among those of the command line."""
    kinds = (flags.DEFINE_string, flags.DEFINE_enum, flags.DEFINE_integer, flags.DEFINE_float, flags.DEFINE_bool)
    string, enum, integer, real, boolean = (functools.partial(kind, flag_values=values) for kind in kinds)
    string(
        'model', 'vgg_face', 'Network, or ffn or audio_gru for sound; a name that is not one is answered with the list.'
    )
    enum(
        'stage',
        'finetune',
        ['pretrain', 'finetune', 'temporal', 'audio', 'early_fusion'],
        'Training stage (dissertation ch. 4). pretrain: stills; finetune: faces of videos, each by itself; temporal: a '
        'recurrent network on the CNN; audio: sound alone; early_fusion: both.',
    )
    # Data.
    string('train_manifest', '', 'Manifest (.txt) of the training split; several, with commas, are joined.')
    string('val_manifest', '', 'Manifest scored after each epoch, or several, with commas, scored each; none if empty.')
    string('data_root', '', "Folder that relative paths in manifests start from; empty is each manifest's own.")
    integer('min_frames', 2, 'Fewest frames a video of a manifest may have; 1 accepts single frames.')
    integer('seq_len', 80, 'Window length in frames (6.2).')
    enum(
        'audio_scaling',
        'zscore',
        ['zscore', 'minmax', 'none'],
        'How openSMILE features are scaled, by statistics of the training split that the run keeps.',
    )
    enum(
        'nonfinite_audio',
        'error',
        ['error', 'mean'],
        'What a NaN or an infinity among them is: an error, or counted and taken for the mean of the training split.',
    )
    enum(
        'on_bad_frame',
        'error',
        ['error', 'skip'],
        'What an image or sound that cannot be read is: an error, or left out with its line, counted, and named in '
        'bad_frames.csv of the run; every image is then decoded once before the run.',
    )
    real('max_bad_fraction', 0.01, 'Largest share of the frames of a split that may be left out so.')
    integer('image_size', 112, 'Height and width of the images in pixels (5.1).')
    # Network.
    real('width', 1.0, 'Multiplies the channels of the network; small values are for tests and the demo.')
    boolean(
        'global_pool',
        None,
        'Average the last map (True), or keep it flat as the features (False); the default is what section 6.1 found '
        'best for the network.',
    )
    boolean('se_vgg', False, 'Put a squeeze-and-excitation block after each convolution of VGG-Face (ch. 10).')
    real(
        'dropout', 0.5, 'Dropout rate after fc6 and fc7 of VGG-Face, the features of NASNet, and hidden layers of ffn.'
    )
    enum(
        'batch_norm_mode',
        'train',
        ['train', 'frozen'],
        'Batch statistics and their averages are learned, or stay as restored. Phase one always freezes them.',
    )
    enum('rnn_cell', 'gru', ['gru', 'lstm'], 'Cell of the recurrent network (6.3).')
    integer('rnn_layers', 2, 'Layers of the recurrent network.')
    integer('rnn_units', 128, 'Units of each of its layers, in each direction.')
    boolean('bidirectional', False, 'Also read windows from their last frame to their first.')
    boolean('attention', False, "Gate the recurrent network's outputs by its inputs (equations 2.10 to 2.12).")
    real('rnn_dropout', 0.0, "Dropout rate between the recurrent network's outputs and the classifier.")
    string('hidden_units', '1024', 'Hidden layers of ffn: 1024, or 256,64 for two (6.4).')
    boolean('batch_norm', False, 'Batch normalisation in the hidden layers of ffn.')
    enum(
        'fusion_option',
        '2',
        ['1', '2', '3', '4'],
        'Early fusion (4.4, figure 6.13). 1: CNN features and LLD into a GRU; 2: CNN features and audio GRU into a '
        'GRU; 3: the same into a dense layer; 4: visual GRU and audio GRU into a GRU.',
    )
    # Objective.
    enum(
        'classify',
        'exact',
        ['frame', 'exact', 'padded'],
        'What a loss is taken of (5.8): each real frame, the real frames of a window together, or the padded window.',
    )
    enum('aggregate', 'mean', ['mean', 'median'], "How the frames' logits become a window's (5.8).")
    enum('loss', 'cross_entropy', ['cross_entropy', 'focal'], 'Loss of an item.')
    real('focal_gamma', 2.0, 'Exponent of the focal loss.')
    enum(
        'class_weights',
        'none',
        ['none', 'balanced', 'sqrt'],
        'Weight of an item: 1, inverse to the frequency of its class in training, or to its square root (2.3).',
    )
    real('island_weight', 0.0, 'Weight of the island loss (2.4.7); 0 is without.')
    real('island_pair_weight', 1.0, 'Weight in it of how near the centres of different classes are.')
    real('locality_weight', 0.0, 'Weight of the locality-preserving loss (2.4.7); 0 is without.')
    integer('locality_neighbours', 20, 'Nearest neighbours in it, of the same class and batch.')
    real('l2', 0.0, 'Weight of half the sum of squares of the trained kernels (2.4.8).')
    # Augmentation, of training only.
    string(
        'augment',
        '',
        'Of flip, crop, rotate, shift, colour, cutout, with commas, or all: drawn once for a window (2.2.3).',
    )
    real('audio_noise', 0.0, 'Standard deviation of the noise added to scaled features of sound.')
    real('audio_time_mask', 0.0, 'Largest share of a window whose sound is masked.')
    # Optimisation.
    integer('batch_size', None, 'Windows per step; by default 64 in pretrain, 16 in audio, else 4.')
    string('train_epochs', '30', 'Epochs; or two phases as 5,25: new layers only, then everything.')
    integer('max_steps', 0, 'Stop after so many steps in all; 0 is no limit.')
    real('learning_rate', 1e-5, "Adam's (initial) learning rate.")
    enum('lr_schedule', 'reduce', ['static', 'reduce'], 'reduce: a staircase of decay_rate (6.1).')
    real('decay_rate', 0.95, 'Factor of the reducing learning rate.')
    integer('decay_steps', 5000, 'Steps between two reductions.')
    real('clip_norm', 0.0, 'Largest norm of all gradients together; 0 does not clip.')
    integer(
        'early_stopping', 0, 'Stop after so many epochs without a better validation, and keep the best; 0 never stops.'
    )
    # Resources. They change results by rounding only, except frames_per_chunk where batch normalisation learns.
    string(
        'feature_cache',
        '',
        'Folder that keeps the features of frames, for any run with the same CNN; a frame then passes a CNN that phase '
        'one does not train once, not once an epoch. Off if empty.',
    )
    real(
        'feature_cache_gb',
        20.0,
        'Gigabytes of it; features that no run is using and that were used longest ago go first.',
    )
    integer(
        'frames_per_chunk',
        0,
        'The most frames whose layers a step that trains the CNN keeps at once: it then takes a third longer. 0: as '
        'many as keep 8 GB; -1: all frames of a batch.',
    )
    # Start.
    string(
        'init_from',
        '',
        'Weights to start from: a run folder, a TensorFlow checkpoint, or a file of public weights, recognised by its '
        'content; fresh weights if empty.',
    )
    string('audio_run_dir', '', 'Run of audio_gru whose network early fusion of option 2, 3 or 4 hears with.')
    boolean('reinit_fc', False, 'Fresh dense layers instead of restored ones (6.2).')
    enum(
        'input_convention',
        'source',
        ['source', 'dissertation'],
        'What pixels the network gets: those that the weights were trained on, or [-1, 1] whatever they were trained '
        'on.',
    )
    boolean('allow_missing', False, 'Leave fresh what the weights lack or have in another shape.')
    integer('seed', 0, 'Fixes weights, shuffling and dropout: a CPU run repeats to the bit.')
    # Input and speed.
    boolean(
        'bucket_by_length',
        False,
        'Deal long and short windows to a batch, so that batches have about the same number of frames; freely shuffled '
        'as in the dissertation if not.',
    )
    string(
        'frame_cache',
        '',
        'Folder of decoded frames, shared by runs: filled before the first epoch, read in all; the pixels are the '
        'same. Every image is decoded in every epoch if empty.',
    )
    real('frame_cache_gb', 50.0, 'Most that frame_cache may hold, in GB of 2^30 bytes; the rest is decoded.')
    boolean(
        'xla',
        False,
        'Compile with XLA, which pays where batches repeat their number of frames (pretrain, --seq_len=1): each number '
        'is compiled again. Results differ in their last digits.',
    )
    boolean(
        'mixed_precision',
        False,
        'Compute in 16 bits where that is safe: in float16 on GPUs, in bfloat16 on CPUs that multiply it. Weights, '
        'their gradients and sums stay float32.',
    )
    integer(
        'intra_op_threads',
        0,
        'Threads of one operation; 0 is one per core. They decide in what order sums are made: with as many, on CPUs '
        'of one type, runs are the same to the bit on however many cores.',
    )
    integer('inter_op_threads', 0, 'Operations at a time; 0 is one per core.')
    string('run_dir', '', 'Folder of the run; empty is runs/<stage>/<model>/<its main settings>.')
    boolean('resume', False, 'Go on with the run in run_dir if there is one.')
    boolean('overwrite', False, 'Replace the run in run_dir if there is one.')


@functools.cache
def train_defaults() -> dict[str, Any]:
    """Returns {name: default} of the flags of `train.py`; None stands for one that the network or stage decides."""
    values = flags.FlagValues()
    define_train_flags(values)
    return {name: values[name].default for name in values}
