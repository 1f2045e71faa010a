# SPDX-License-Identifier: Apache-2.0
"""Compares evaluating several recurrent networks on one CNN with and without the feature cache.

  python -m tests.benchmarks.heads [--model=vgg_face] [--heads=5] [--videos=40] [--rounds=2] [--width=1.0]

The runs of train.py have a CNN of equal weights. fer.training.evaluate evaluates one after the other, from the
building of each graph to its results file. The time includes the first evaluation, which fills the cache.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from absl import flags

from fer import cli
from tests.benchmarks import timing
from tests.benchmarks.runs import synthetic_manifest

flags.DEFINE_integer('heads', 5, 'Number of recurrent networks.', lower_bound=1)
flags.DEFINE_integer('videos', 40, 'Number of synthetic videos.', lower_bound=4)
flags.FLAGS.set_default('rounds', 2)
GOAL = 4.0


def main() -> None:
    from fer.training.evaluate import evaluate
    from fer.training.requests import EvaluationRequest

    values = flags.FLAGS
    manifest = synthetic_manifest(values.videos, values.image_size)
    root = Path(values.folder) / 'heads'
    shutil.rmtree(root, ignore_errors=True)
    cache = root / 'feature_cache'
    common = [f'--model={values.model}', f'--width={values.width}', f'--image_size={values.image_size}']
    common += [f'--train_manifest={manifest}', '--max_steps=1']
    _train(*common, '--stage=finetune', '--seq_len=1', f'--run_dir={root}/cnn')
    for seed in range(values.heads):
        _train(
            *common,
            *('--stage=temporal', f'--init_from={root}/cnn', f'--seed={seed}', f'--run_dir={root}/head{seed}'),
            *('--train_epochs=1,1', f'--feature_cache={cache}'),  # one step of phase one, which does not change the CNN
        )

    def evaluate_all(feature_cache: str) -> float:
        """Returns the seconds of all evaluations."""
        shutil.rmtree(cache, ignore_errors=True)
        began = time.perf_counter()
        for seed in range(values.heads):
            request = EvaluationRequest(
                run_dir=f'{root}/head{seed}', manifest=str(manifest), feature_cache=feature_cache
            )
            evaluate(request)
        return time.perf_counter() - began

    found = timing.interleave(
        {'with the cache': lambda: evaluate_all(str(cache)), 'without': lambda: evaluate_all('')},
        values.rounds,
        warm=True,
    )
    ratio = 'without / with'
    timing.report(
        f'{values.heads} recurrent networks on one {values.model}, evaluated on {values.videos} videos: s',
        {**found, ratio: timing.ratios(found, 'without', 'with the cache')},
        {ratio: GOAL},
    )


def _train(*arguments: str) -> None:
    subprocess.run([sys.executable, 'train.py', *arguments], check=True, stdout=subprocess.DEVNULL)


if __name__ == '__main__':
    cli.run(main)
