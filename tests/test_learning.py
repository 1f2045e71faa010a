# SPDX-License-Identifier: Apache-2.0
"""The demo learns: three seeds on the synthetic corpus are better than the largest class. It takes minutes."""

import re

import pytest
from conftest import run


@pytest.mark.slow
def test_training_beats_the_majority_class(tmp_path):
    done = run('-m', 'fer.demo', f'--output={tmp_path / "demo"}', '--seeds=0,1,2', timeout=1800)
    print(done.out)
    (majority,) = re.findall(r'largest class: \d+/90 = ([\d.]+)%', done.out)
    (mean,) = re.findall(r'single networks: mean ([\d.]+)%', done.out)
    assert float(mean) > float(majority) + 10
    assert re.findall(r'(\d+)/90 = .*; with faces \d+/87', done.out)  # videos without faces count
