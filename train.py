"""Trains one run: python train.py --model=vgg_face --stage=finetune --seq_len=80 --train_manifest=DATA/train.txt ...

The run, with all that replays it, is left in --run_dir. Exit code 2: bad input, nothing written.
"""

import dataclasses
import os

from absl import flags

from fer import cli
from fer.training.config import TrainConfig

flags.DEFINE_string('model', 'vgg_face', 'Network; a name that is not one is answered with the list.')
flags.DEFINE_enum('stage', 'finetune', ['finetune'], 'Training stage (dissertation ch. 4).')
flags.DEFINE_string('train_manifest', '', 'Manifest (.txt) of the training split.')
flags.DEFINE_string('val_manifest', '', 'Manifest scored after each epoch; none if empty.')
flags.DEFINE_string(
    'data_root', '', "Folder that relative paths in manifests start from; empty is each manifest's own."
)
flags.DEFINE_integer('min_frames', 2, 'Fewest frames a video of a manifest may have; 1 accepts single frames.')
flags.DEFINE_integer('seq_len', 80, 'Window length in frames (6.2).')
flags.DEFINE_integer('image_size', 112, 'Height and width of the images in pixels (5.1).')
flags.DEFINE_float('width', 1.0, 'Multiplies the channels of the network; small values are for tests and the demo.')
flags.DEFINE_bool(
    'global_pool',
    None,
    'Average the last map (True), or keep it flat as the features (False); the default is what section 6.1 found best '
    'for the network.',
)
flags.DEFINE_bool('se_vgg', False, 'Put a squeeze-and-excitation block after each convolution of VGG-Face (ch. 10).')
flags.DEFINE_float('dropout', 0.5, 'Dropout rate after fc6 and fc7 of VGG-Face and the features of NASNet.')
flags.DEFINE_enum(
    'classify',
    'exact',
    ['frame', 'exact', 'padded'],
    'What a loss is taken of (5.8): each real frame, the real frames of a window together, or the padded window.',
)
flags.DEFINE_enum('aggregate', 'mean', ['mean', 'median'], "How the frames' logits become a window's (5.8).")
flags.DEFINE_integer('batch_size', 4, 'Windows per step.')
flags.DEFINE_string('train_epochs', '30', 'Epochs; or two phases as 5,25: the dense layers only, then everything.')
flags.DEFINE_integer('max_steps', 0, 'Stop after so many steps in all; 0 is no limit.')
flags.DEFINE_float('learning_rate', 1e-5, "Adam's (initial) learning rate.")
flags.DEFINE_enum('lr_schedule', 'reduce', ['static', 'reduce'], 'reduce: a staircase of decay_rate (6.1).')
flags.DEFINE_float('decay_rate', 0.95, 'Factor of the reducing learning rate.')
flags.DEFINE_integer('decay_steps', 5000, 'Steps between two reductions.')
flags.DEFINE_string(
    'init_from',
    '',
    'Weights to start from: a run folder, a TensorFlow checkpoint, or a file of public weights, recognised by its '
    'content; fresh weights if empty.',
)
flags.DEFINE_enum(
    'input_convention',
    'source',
    ['source', 'dissertation'],
    'What pixels the network gets: those that the weights were trained on, or [-1, 1] whatever they were trained on.',
)
flags.DEFINE_bool('allow_missing', False, 'Leave fresh what the weights lack or have in another shape.')
flags.DEFINE_integer('seed', 0, 'Fixes weights, shuffling and dropout: a CPU run repeats to the bit.')
flags.DEFINE_string('run_dir', '', 'Folder of the run; empty is runs/<stage>/<model>/<its main settings>.')
flags.DEFINE_bool('resume', False, 'Go on with the run in run_dir if there is one.')
flags.DEFINE_bool('overwrite', False, 'Replace the run in run_dir if there is one.')


def main() -> None:
    # Here, not above: TensorFlow takes seconds to import, and --help should not.
    from fer.nets import get_network
    from fer.training.loop import train

    settings = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(TrainConfig)}
    if settings['global_pool'] is None:
        settings['global_pool'] = get_network(settings['model']).global_pool[0]
    if not settings['run_dir']:
        name = '{classify}_{aggregate}_len{seq_len}_lr{learning_rate:g}_{train_epochs}ep_seed{seed}'.format(**settings)
        name = name.replace(',', '+')  # a comma would part the name in fusion.py's list of results
        settings['run_dir'] = os.path.join('runs', settings['stage'], settings['model'], name)
    # Absolute, so that the run's flags replay it from any folder.
    for name in ('train_manifest', 'val_manifest', 'data_root', 'init_from', 'run_dir'):
        if settings[name]:
            settings[name] = os.path.abspath(settings[name])
    train(TrainConfig(**settings), flags.FLAGS.resume, flags.FLAGS.overwrite)


if __name__ == '__main__':
    cli.run(main)
