"""The command `python -m fer.prepare.synthetic`; what it writes is described in `fer/prepare/synthetic/__init__.py`.

The default sizes are AFEW's and take one and a half to three minutes on two cores.
"""

import functools

from absl import flags

from fer import cli

FLAGS = flags.FLAGS

flags.DEFINE_string('output', None, 'The folder to write the corpus to; it is made if missing.')
flags.DEFINE_integer('train_videos', 773, 'The number of training clips.', lower_bound=0)
flags.DEFINE_integer('val_videos', 383, 'The number of validation clips.', lower_bound=0)
flags.DEFINE_integer('test_videos', 653, 'The number of hold-out clips.', lower_bound=0)
flags.DEFINE_integer('seed', 0, 'The seed of everything random; the same seed gives the same files.', lower_bound=0)
flags.DEFINE_integer('jobs', 2, 'The number of processes that draw clips at the same time.', lower_bound=1)
flags.DEFINE_boolean('overwrite', False, 'Whether to replace an earlier corpus in the output folder.')
flags.mark_flag_as_required('output')


def main():
    from fer.prepare.synthetic.corpus import write_corpus  # here, not above: SciPy takes a second to import

    sizes = {'Train': FLAGS.train_videos, 'Val': FLAGS.val_videos, 'Test': FLAGS.test_videos}
    write_corpus(FLAGS.output, sizes, FLAGS.seed, FLAGS.jobs, FLAGS.overwrite)


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
