"""Trains one run: python train.py --model=vgg_face --stage=finetune --seq_len=80 --train_manifest=DATA/train.txt ...

The run, with all that replays it, is left in --run_dir. Exit code 2: bad input, nothing written.
"""

import dataclasses
import os

from absl import flags

from fer import cli
from fer.training.config import TrainConfig

flags.DEFINE_string(
    'model', 'vgg_face', 'Network, or ffn or audio_gru for sound; a name that is not one is answered with the list.'
)
flags.DEFINE_enum(
    'stage',
    'finetune',
    ['pretrain', 'finetune', 'temporal', 'audio', 'early_fusion'],
    'Training stage (dissertation ch. 4). pretrain: stills; finetune: faces of videos, each by itself; temporal: a '
    'recurrent network on the CNN; audio: sound alone; early_fusion: both.',
)
# Data.
flags.DEFINE_string('train_manifest', '', 'Manifest (.txt) of the training split; several, with commas, are joined.')
flags.DEFINE_string(
    'val_manifest', '', 'Manifest scored after each epoch, or several, with commas, scored each; none if empty.'
)
flags.DEFINE_string(
    'data_root', '', "Folder that relative paths in manifests start from; empty is each manifest's own."
)
flags.DEFINE_integer('min_frames', 2, 'Fewest frames a video of a manifest may have; 1 accepts single frames.')
flags.DEFINE_integer('seq_len', 80, 'Window length in frames (6.2).')
flags.DEFINE_enum(
    'audio_scaling',
    'zscore',
    ['zscore', 'minmax', 'none'],
    'How openSMILE features are scaled, by statistics of the training split that the run keeps.',
)
flags.DEFINE_enum(
    'nonfinite_audio',
    'error',
    ['error', 'mean'],
    'What a NaN or an infinity among them is: an error, or counted and taken for the mean of the training split.',
)
flags.DEFINE_enum(
    'on_bad_frame',
    'error',
    ['error', 'skip'],
    'What an image or sound that cannot be read is: an error, or left out with its line, counted, and named in '
    'bad_frames.csv of the run; every image is then decoded once before the run.',
)
flags.DEFINE_float('max_bad_fraction', 0.01, 'Largest share of the frames of a split that may be left out so.')
flags.DEFINE_integer('image_size', 112, 'Height and width of the images in pixels (5.1).')
# Network.
flags.DEFINE_float('width', 1.0, 'Multiplies the channels of the network; small values are for tests and the demo.')
flags.DEFINE_bool(
    'global_pool',
    None,
    'Average the last map (True), or keep it flat as the features (False); the default is what section 6.1 found best '
    'for the network.',
)
flags.DEFINE_bool('se_vgg', False, 'Put a squeeze-and-excitation block after each convolution of VGG-Face (ch. 10).')
flags.DEFINE_float(
    'dropout', 0.5, 'Dropout rate after fc6 and fc7 of VGG-Face, the features of NASNet, and hidden layers of ffn.'
)
flags.DEFINE_enum(
    'batch_norm_mode',
    'train',
    ['train', 'frozen'],
    'Batch statistics and their averages are learned, or stay as they were restored. Phase one always freezes them.',
)
flags.DEFINE_enum('rnn_cell', 'gru', ['gru', 'lstm'], 'Cell of the recurrent network (6.3).')
flags.DEFINE_integer('rnn_layers', 2, 'Layers of the recurrent network.')
flags.DEFINE_integer('rnn_units', 128, 'Units of each of its layers, in each direction.')
flags.DEFINE_bool('bidirectional', False, 'Also read windows from their last frame to their first.')
flags.DEFINE_bool('attention', False, "Gate the recurrent network's outputs by its inputs (equations 2.10 to 2.12).")
flags.DEFINE_float('rnn_dropout', 0.0, "Dropout rate between the recurrent network's outputs and the classifier.")
flags.DEFINE_string('hidden_units', '1024', 'Hidden layers of ffn: 1024, or 256,64 for two (6.4).')
flags.DEFINE_bool('batch_norm', False, 'Batch normalisation in the hidden layers of ffn.')
flags.DEFINE_enum(
    'fusion_option',
    '2',
    ['1', '2', '3', '4'],
    'Early fusion (4.4, figure 6.13). 1: CNN features and LLD into a GRU; 2: CNN features and audio GRU into a GRU; 3: '
    'the same into a dense layer; 4: visual GRU and audio GRU into a GRU.',
)
# Objective.
flags.DEFINE_enum(
    'classify',
    'exact',
    ['frame', 'exact', 'padded'],
    'What a loss is taken of (5.8): each real frame, the real frames of a window together, or the padded window.',
)
flags.DEFINE_enum('aggregate', 'mean', ['mean', 'median'], "How the frames' logits become a window's (5.8).")
flags.DEFINE_enum('loss', 'cross_entropy', ['cross_entropy', 'focal'], 'Loss of an item.')
flags.DEFINE_float('focal_gamma', 2.0, 'Exponent of the focal loss.')
flags.DEFINE_enum(
    'class_weights',
    'none',
    ['none', 'balanced', 'sqrt'],
    'Weight of an item: 1, inverse to the frequency of its class in training, or to its square root (2.3).',
)
flags.DEFINE_float('island_weight', 0.0, 'Weight of the island loss (2.4.7); 0 is without.')
flags.DEFINE_float('island_pair_weight', 1.0, 'Weight in it of how near the centres of different classes are.')
flags.DEFINE_float('locality_weight', 0.0, 'Weight of the locality-preserving loss (2.4.7); 0 is without.')
flags.DEFINE_integer('locality_neighbours', 20, 'Nearest neighbours in it, of the same class and batch.')
flags.DEFINE_float('l2', 0.0, 'Weight of half the sum of squares of the trained kernels (2.4.8).')
# Augmentation, of training only.
flags.DEFINE_string(
    'augment',
    '',
    'Of flip, crop, rotate, shift, colour, cutout, with commas, or all: drawn once for a window (2.2.3).',
)
flags.DEFINE_float('audio_noise', 0.0, 'Standard deviation of the noise added to scaled features of sound.')
flags.DEFINE_float('audio_time_mask', 0.0, 'Largest share of a window whose sound is masked.')
# Optimisation.
flags.DEFINE_integer('batch_size', None, 'Windows per step; by default 64 in pretrain, 16 in audio, else 4.')
flags.DEFINE_string('train_epochs', '30', 'Epochs; or two phases as 5,25: new layers only, then everything.')
flags.DEFINE_integer('max_steps', 0, 'Stop after so many steps in all; 0 is no limit.')
flags.DEFINE_float('learning_rate', 1e-5, "Adam's (initial) learning rate.")
flags.DEFINE_enum('lr_schedule', 'reduce', ['static', 'reduce'], 'reduce: a staircase of decay_rate (6.1).')
flags.DEFINE_float('decay_rate', 0.95, 'Factor of the reducing learning rate.')
flags.DEFINE_integer('decay_steps', 5000, 'Steps between two reductions.')
flags.DEFINE_float('clip_norm', 0.0, 'Largest norm of all gradients together; 0 does not clip.')
flags.DEFINE_integer(
    'early_stopping', 0, 'Stop after so many epochs without a better validation, and keep the best; 0 never stops.'
)
# Resources, which change what is learned by rounding only; but for frames_per_chunk where batch normalisation learns.
flags.DEFINE_string(
    'feature_cache',
    '',
    'Folder that keeps the features of frames, for any run with the same CNN; a frame then passes a CNN that phase one '
    'does not train once, not once an epoch. Off if empty.',
)
flags.DEFINE_float(
    'feature_cache_gb', 20.0, 'Gigabytes of it; features that no run is using and that were used longest ago go first.'
)
flags.DEFINE_integer(
    'frames_per_chunk',
    0,
    'The most frames whose layers a step that trains the CNN keeps at once: it then takes a third longer. 0: as many '
    'as keep 8 GB; -1: all frames of a batch.',
)
# Start.
flags.DEFINE_string(
    'init_from',
    '',
    'Weights to start from: a run folder, a TensorFlow checkpoint, or a file of public weights, recognised by its '
    'content; fresh weights if empty.',
)
flags.DEFINE_string('audio_run_dir', '', 'Run of audio_gru whose network early fusion of option 2, 3 or 4 hears with.')
flags.DEFINE_bool('reinit_fc', False, 'Fresh dense layers instead of restored ones (6.2).')
flags.DEFINE_enum(
    'input_convention',
    'source',
    ['source', 'dissertation'],
    'What pixels the network gets: those that the weights were trained on, or [-1, 1] whatever they were trained on.',
)
flags.DEFINE_bool('allow_missing', False, 'Leave fresh what the weights lack or have in another shape.')
flags.DEFINE_integer('seed', 0, 'Fixes weights, shuffling and dropout: a CPU run repeats to the bit.')
# Input and speed.
flags.DEFINE_bool(
    'bucket_by_length',
    False,
    'Deal long and short windows to a batch, so that batches have about the same number of frames; freely shuffled as '
    'in the dissertation if not.',
)
flags.DEFINE_string(
    'frame_cache',
    '',
    'Folder of decoded frames, shared by runs: filled before the first epoch, read in all; the pixels are the same. '
    'Every image is decoded in every epoch if empty.',
)
flags.DEFINE_float('frame_cache_gb', 50.0, 'Most that frame_cache may hold, in GB of 2^30 bytes; the rest is decoded.')
flags.DEFINE_bool(
    'xla',
    False,
    'Compile with XLA, which pays where batches repeat their number of frames (pretrain, --seq_len=1): each number is '
    'compiled anew. Results differ in their last digits.',
)
flags.DEFINE_bool(
    'mixed_precision',
    False,
    'Compute in 16 bits where that is safe: in float16 on GPUs, in bfloat16 on CPUs that multiply it. Weights, their '
    'gradients and sums stay float32.',
)
flags.DEFINE_integer(
    'intra_op_threads',
    0,
    'Threads of one operation; 0 is one per core. They decide in what order sums are made: with as many, on CPUs of '
    'one type, runs are the same to the bit on however many cores.',
)
flags.DEFINE_integer('inter_op_threads', 0, 'Operations at a time; 0 is one per core.')
flags.DEFINE_string('run_dir', '', 'Folder of the run; empty is runs/<stage>/<model>/<its main settings>.')
flags.DEFINE_bool('resume', False, 'Go on with the run in run_dir if there is one.')
flags.DEFINE_bool('overwrite', False, 'Replace the run in run_dir if there is one.')


def default_name(settings: dict) -> str:
    """A run's name from its main settings."""
    rnn = '{rnn_cell}{rnn_layers}x{rnn_units}'.format(**settings)
    rnn += '_bi' * settings['bidirectional'] + '_attention' * settings['attention']
    own = {
        'temporal': [rnn],
        'audio': [f'hidden{settings["hidden_units"]}' if settings['model'] == 'ffn' else rnn],
        'early_fusion': [f'option{settings["fusion_option"]}', rnn],
    }
    parts = [*own.get(settings['stage'], []), '{classify}_{aggregate}_len{seq_len}_lr{learning_rate:g}']
    name = '_'.join([*parts, '{train_epochs}ep_seed{seed}']).format(**settings)
    return name.replace(',', '+')  # a comma would part the name in fusion.py's list of results


def main() -> None:
    # Here, not above: TensorFlow takes seconds to import, and --help should not.
    from fer.data.split import split_paths
    from fer.nets import NETWORKS
    from fer.training.stages import get_stage
    from fer.training.train import train

    settings = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(TrainConfig)}
    stage = get_stage(settings['stage'], settings['model'])
    settings['fusion_option'] = int(settings['fusion_option'])
    if settings['global_pool'] is None:
        network = NETWORKS.get(settings['model'])
        settings['global_pool'] = bool(network and network.global_pool[0])
    if settings['batch_size'] is None:
        settings['batch_size'] = stage.batch_size
    if not settings['run_dir']:
        settings['run_dir'] = os.path.join('runs', settings['stage'], settings['model'], default_name(settings))
    # Absolute, so that the run's flags replay it from any folder.
    for name in ('data_root', 'init_from', 'audio_run_dir', 'frame_cache', 'feature_cache', 'run_dir'):
        if settings[name]:
            settings[name] = os.path.abspath(settings[name])
    for name in ('train_manifest', 'val_manifest'):
        settings[name] = ','.join(os.path.abspath(path) for path in split_paths(settings[name]))
    train(TrainConfig(**settings), flags.FLAGS.resume, flags.FLAGS.overwrite)


if __name__ == '__main__':
    cli.run(main)
