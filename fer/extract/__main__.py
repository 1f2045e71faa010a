"""Features and logits of every frame: python -m fer.extract --init_from=RUN --manifest=DATA/val.txt --output=val.npz

Writes video_id [N], path [N], features [N, D] float32 and logits [N, C] float32, a row per line of the manifest that is
not left out as bad, from any run or public weights; C are the weights' own classes, none where they have no classifier
that fits. Settings that are not given are those of the run, or those that the public weights were trained with. With
--on_bad_frame=skip also val.bad_frames.csv, the lines that have no row. Exit code 2: bad input, nothing written.
"""

import functools
from typing import Any

from absl import flags

from fer import cli

flags.DEFINE_string('model', '', 'Network that the weights are expected to be of; whatever they are of if empty.')
flags.DEFINE_string('init_from', None, 'Run folder, TensorFlow checkpoint, or file of public weights.', required=True)
flags.DEFINE_string('manifest', None, 'Manifest (.txt) of images, labelled or not.', required=True)
flags.DEFINE_string('output', None, 'File to write, .npz.', required=True)
flags.DEFINE_string(
    'data_root', '', "Folder that relative paths in the manifest start from; empty is the manifest's own."
)
flags.DEFINE_enum('item', 'frame', ['frame', 'still'], 'What a line is: a frame of a video, or an image of its own.')
flags.DEFINE_integer('batch_size', 32, 'Images at a time.')
flags.DEFINE_integer('image_size', 0, 'Height and width of the images in pixels; 0 is as the weights were trained.')
flags.DEFINE_float('width', 0.0, 'Multiplies the channels of the network; 0 is as the weights were trained.')
flags.DEFINE_bool('global_pool', None, 'Average the last map or keep it flat; the default is as trained.')
flags.DEFINE_enum(
    'input_convention',
    'source',
    ['source', 'dissertation'],
    'Pixels as the weights were trained on (a run: as it was), or [-1, 1] whatever they were trained on.',
)
flags.DEFINE_bool('allow_missing', False, 'Leave fresh, that is random, what the weights lack.')
flags.DEFINE_string('feature_cache', '', 'Folder that keeps features, for any run with the same CNN; off if empty.')
flags.DEFINE_float(
    'feature_cache_gb', 20.0, 'Gigabytes of it; features that no run is using and that were used longest ago go first.'
)
flags.DEFINE_enum(
    'on_bad_frame',
    'error',
    ['error', 'skip'],
    'What an image is that cannot be read: an error, or a line without a row, which a .bad_frames.csv names; every '
    'image is then decoded once before.',
)
flags.DEFINE_float('max_bad_fraction', 0.01, 'Largest share of the lines that may be left out so.')


def main() -> None:
    # Here, not above: TensorFlow takes seconds to import, and --help should not.
    from fer.extract.extract import extract

    names = (
        *('model', 'init_from', 'manifest', 'output', 'data_root', 'item', 'batch_size', 'image_size', 'width'),
        *('global_pool', 'input_convention', 'allow_missing', 'feature_cache', 'feature_cache_gb'),
        *('on_bad_frame', 'max_bad_fraction'),
    )
    settings: dict[str, Any] = {name: flags.FLAGS[name].value for name in names}
    extract(**settings)


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
