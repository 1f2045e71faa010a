"""Late fusion: python fusion.py --results=A/results_val.txt,B/results_val.txt --method=2 --output=FOLDER

Reads results files from anywhere and writes the fused one in the same format. Exit code 2: bad input, nothing
written.
"""

from absl import flags

from fer import cli
from fer.errors import InputError

flags.DEFINE_list('results', None, 'Results files to fuse, separated by commas.', required=True)
flags.DEFINE_enum(
    'method',
    '2',
    ['1', '2', '3'],
    'Late-fusion method as numbered in dissertation 6.5. 1: predictions weighted by accuracy; 2: logits weighted by '
    'accuracy; 3: logits with equal weights.',
)
flags.DEFINE_string('output', None, 'Folder to write to, or the path (.txt) of the fused results.', required=True)
flags.DEFINE_list('accuracies', None, "One accuracy per file, in [0, 1]; by default each file's own, from its labels.")


def main() -> None:
    # Here, not above: --help and a mistyped flag are answered before NumPy is imported.
    from fer.fusion.fuse import fuse

    accuracies = flags.FLAGS.accuracies
    if accuracies is not None:
        try:
            accuracies = [float(text) for text in accuracies]
        except ValueError:
            raise InputError(f'--accuracies={",".join(accuracies)}: expected numbers') from None
    fuse(flags.FLAGS.results, int(flags.FLAGS.method), flags.FLAGS.output, accuracies)


if __name__ == '__main__':
    cli.run(main)
