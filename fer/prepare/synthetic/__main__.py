# SPDX-License-Identifier: Apache-2.0
"""Writes the synthetic corpus: python -m fer.prepare.synthetic --output=DIR

`fer/prepare/synthetic/__init__.py` describes its files. The default sizes are AFEW's and take one and a half to three
minutes on two cores.
"""

import functools

from absl import flags

from fer import cli

FLAGS = flags.FLAGS

flags.DEFINE_string('output', None, 'Folder to write the corpus to. It is made if it is missing.')
flags.DEFINE_integer('train_videos', 773, 'Number of training clips.', lower_bound=0)
flags.DEFINE_integer('val_videos', 383, 'Number of validation clips.', lower_bound=0)
flags.DEFINE_integer('test_videos', 653, 'Number of hold-out clips.', lower_bound=0)
flags.DEFINE_integer('seed', 0, 'Seed of everything random. The same seed gives the same files.', lower_bound=0)
flags.DEFINE_integer('jobs', 2, 'Number of processes that make clips at the same time.', lower_bound=1)
flags.DEFINE_boolean('overwrite', False, 'Replace an earlier corpus in the output folder.')
flags.mark_flag_as_required('output')


def main() -> None:
    from fer.prepare.synthetic.corpus import write_corpus  # imported here, because SciPy takes a second to import

    sizes = {'Train': FLAGS.train_videos, 'Val': FLAGS.val_videos, 'Test': FLAGS.test_videos}
    write_corpus(FLAGS.output, sizes, FLAGS.seed, FLAGS.jobs, overwrite=FLAGS.overwrite)


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
