"""Evaluating several recurrent networks on one CNN, with the feature cache and without.

  python -m tests.benchmarks.heads [--model=vgg_face] [--heads=5] [--videos=40] [--rounds=2] [--width=1.0]

Runs of train.py whose CNN has the same weights, and fer.training.evaluate of one after the other, from the building of
each graph to its results file. The first evaluation fills the cache, which counts.
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

flags.DEFINE_integer('heads', 5, 'Recurrent networks.', lower_bound=1)
flags.DEFINE_integer('videos', 40, 'Videos drawn.', lower_bound=4)
flags.FLAGS.set_default('rounds', 2)
GOAL = 4.0


def main() -> None:
    from fer.training.evaluate import evaluate

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
            *('--train_epochs=1,1', f'--feature_cache={cache}'),  # one step of phase one, which leaves the CNN as it is
        )

    def evaluate_all(feature_cache: str) -> float:
        """Seconds of all evaluations."""
        shutil.rmtree(cache, ignore_errors=True)
        began = time.perf_counter()
        for seed in range(values.heads):
            evaluate(
                *(f'{root}/head{seed}', str(manifest), 'val', '', 0, 'prior', '', '', 1, '', ''),
                feature_cache=feature_cache,
            )
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
