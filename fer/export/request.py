# SPDX-License-Identifier: Apache-2.0
"""The settings of `python -m fer.export`."""

from dataclasses import dataclass

from fer.settings import check_values, setting, setting_of
from fer.training.requests import EvaluationRequest

ONNX, SAVED_MODEL = 'onnx', 'saved_model'


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """The flags of `python -m fer.export`."""

    run_dir: str = setting('Folder of a run of any stage, or starter:face or starter:voice.', is_path=True)
    output: str = setting('Folder to write. It must not exist, or be empty.', is_path=True)
    format: str = setting(
        'Format of the network.',
        ONNX,
        choices={
            ONNX: 'for onnxruntime and others, needs the packages of the extra `export`',
            SAVED_MODEL: 'for TensorFlow',
        },
    )
    checkpoint: str = setting_of(EvaluationRequest, 'checkpoint')
    calibrate_on: str = setting(
        'Results file of the run on labelled videos that it was not trained on. The temperature of the probabilities '
        "is fitted on it. Empty: the temperature of the starter network's card, or 1.",
        '',
        is_path=True,
    )

    def check(self) -> None:
        """Raises InputError for a value that is not allowed."""
        check_values(self)
