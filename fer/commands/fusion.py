# SPDX-License-Identifier: Apache-2.0
"""Fuses results files of any runs. Never imports TensorFlow.

  python fusion.py --results=A/results_val.txt,B/results_val.txt --method=2 --output=FOLDER
  python fusion.py --weights_from=A/results_val.txt,B/results_val.txt --apply_to=A/results_test.txt,B/results_test.txt
      --method=2 --output=FOLDER --submission=FOLDER        weights of one split, applied to another
  python fusion.py --search=auto --weights_from='runs/*/*/*/results_val.txt' --apply_to='runs/*/*/*/results_holdout.txt'
      --output=FOLDER        the best ensemble on the first files, and what it is worth on the second
  python fusion.py --compare --results=A/results_val.txt,B/results_val.txt              is the difference chance?
  python fusion.py --check_submission=FOLDER --expected=DATA/test.ledger.csv

Exit codes: 0 done, 1 faults of a submission (--check_submission lists them), 2 bad input and nothing written.
"""

import functools

from absl import flags

from fer import cli
from fer.errors import InputError

flags.DEFINE_list('results', None, 'Results files to fuse, separated by commas. A * in a path takes all that match.')
flags.DEFINE_enum(
    'method',
    '2',
    ['1', '2', '3', '4', '5', 'vote', 'softmax', '2-rescaled', '3-rescaled', '4-rescaled', '4-normalised']
    + ['4-normalised-rescaled', '4-frequency', 'frequency', 'per-class'],
    'Late-fusion method, numbered 1 to 5 as in dissertation 6.5. 1: predictions weighted by accuracy; 2: logits '
    'weighted by accuracy; 3: logits with equal weights; 4: the sum of logits times accuracy times the square root of '
    "each model's accuracy in the class; 5: linear regression. vote: predictions with equal weights; softmax: mean "
    'probabilities; -rescaled: logits stretched to [0, 1] first; 4-normalised: 4 with weights that sum to 1 in each '
    'class, made from smoothed accuracies, which older results call 4; 4-frequency: 4 with inverse class frequencies '
    'instead of accuracies in the class; frequency: probabilities weighted by accuracy and inverse class frequency; '
    'per-class: linear regression with weights of each model in each class.',
)
flags.DEFINE_string('output', None, 'Folder to write to, or the path (.txt) of the fused results.')
flags.DEFINE_list(
    'accuracies',
    None,
    'Accuracy of each file, in [0, 1]. The default is computed from the labels in the files.',
)
flags.DEFINE_list(
    'weights_from',
    None,
    'Labelled results files, one per model, to make the weights from. Needs --apply_to. Without this flag, the weights '
    'are made from the same files that are fused, and scores are called optimistic.',
)
flags.DEFINE_list(
    'apply_to', None, 'Results files of the videos to answer, with the same models in the same order as --weights_from.'
)
flags.DEFINE_enum(
    'on_missing',
    'error',
    ['error', 'others', 'prior'],
    'How to handle a video that some files do not have. error: stop. others: the other files answer it. prior: '
    'the file answers with the class frequencies of its run, from class_counts.json beside it.',
)
flags.DEFINE_bool(
    'leave_out_common',
    False,
    'Leave out of the score the videos whose ids are also in --weights_from. A few ids of AFEW occur in two splits.',
)
flags.DEFINE_enum(
    'search',
    None,
    ['auto', 'exhaustive', 'greedy'],
    'Search for the best ensemble among the subsets of the files, instead of fusing all, and print what it is worth. '
    'exhaustive: all subsets of up to 20 files; greedy: forward selection with replacement; auto: exhaustive for up to '
    '20 files, else greedy.',
)
flags.DEFINE_list('search_methods', ['1', '2', '3', '4'], 'Methods for --search to try: any except 5 and per-class.')
flags.DEFINE_integer(
    'folds', 5, 'Folds of the cross-validation that is printed beside an optimistic score. 0 for none.', lower_bound=0
)
flags.DEFINE_integer(
    'repeats',
    None,
    'Repetitions of the cross-validation, each with other folds. The default is 10, or 1 with --search.',
    lower_bound=1,
)
flags.DEFINE_integer('seed', 0, 'Seed of the folds and of the bootstrap.', lower_bound=0)
flags.DEFINE_string('submission', '', 'New folder for a <video_id>.txt per video, in the form that EmotiW takes.')
flags.DEFINE_bool('compare', False, 'Test each pair of --results (McNemar, paired bootstrap) instead of fusing them.')
flags.DEFINE_string('check_submission', '', 'Folder to check against --expected, instead of fusing.')
flags.DEFINE_string(
    'expected', '', 'Videos that a submission must answer: a ledger, a results file, or text with an id per line.'
)


def main() -> int:
    # Modules are imported where they are used, so that --help and a mistyped flag do not wait for NumPy's import.
    values = flags.FLAGS
    if values.check_submission:
        return check_submission()
    if values.compare:
        from fer.fusion.tables import print_comparisons

        print_comparisons(values.results or [], values.seed)
        return 0
    check_flags(values)
    shared = {
        'weights_from': values.results if values.apply_to is None else values.weights_from,
        'apply_to': values.apply_to,
        'output': values.output,
        'folds': values.folds,
        'seed': values.seed,
        'submission': values.submission,
    }
    if values.repeats is not None:
        shared['repeats'] = values.repeats
    from fer.fusion.requests import FusionRequest, SearchRequest

    if values.search is not None:
        from fer.fusion.find import find

        find(SearchRequest(search=values.search, methods=values.search_methods, **shared))
        return 0
    from fer.fusion.fuse import fuse

    fuse(
        FusionRequest(
            method=values.method,
            accuracies=accuracies(),
            on_missing=values.on_missing,
            leave_out_common=values.leave_out_common,
            **shared,
        )
    )
    return 0


def check_flags(values: flags.FlagValues) -> None:
    """Raises InputError for flags that are missing or do not go together."""
    if values.output is None:
        raise InputError('--output: not given; expected a folder or a path that ends in .txt')
    if values.folds == 1:
        raise InputError('--folds=1: expected 2 or more, or 0 for no cross-validation')
    given = {name for name in ('results', 'weights_from', 'apply_to') if values[name].value is not None}
    if given not in ({'results'}, {'weights_from', 'apply_to'}):
        raise InputError('--results: expected either this flag alone, or both --weights_from and --apply_to')
    if values.search is None:
        return
    if values['method'].present:
        raise InputError('--method: not allowed with --search; give --search_methods instead')
    if values.accuracies is not None:
        raise InputError('--accuracies: not allowed with --search, which takes accuracies from the labels; remove it')
    if values.on_missing != 'error' or values.leave_out_common:
        raise InputError(
            '--on_missing, --leave_out_common: not allowed with --search, whose files must answer the same videos; '
            'remove them'
        )


def accuracies() -> list[float] | None:
    """Returns the numbers of --accuracies, None where the flag is not given."""
    if flags.FLAGS.accuracies is None:
        return None
    try:
        return [float(text) for text in flags.FLAGS.accuracies]
    except ValueError:
        raise InputError(f'--accuracies={",".join(flags.FLAGS.accuracies)}: expected numbers') from None


def check_submission() -> int:
    """Prints the faults of a submission, and returns the exit code."""
    from fer.fusion import submission

    if not flags.FLAGS.expected:
        raise InputError('--expected: not given; --check_submission needs a list of the videos to expect')
    expected = submission.read_expected(flags.FLAGS.expected)
    faults = submission.check_submission(flags.FLAGS.check_submission, expected)
    print('\n'.join(faults) if faults else f'{flags.FLAGS.check_submission}: {len(expected)} videos, all there')
    return 1 if faults else 0


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
