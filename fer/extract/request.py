# SPDX-License-Identifier: Apache-2.0
"""The settings of `python -m fer.extract`."""

from dataclasses import dataclass

from fer.runs.config import TrainConfig
from fer.settings import setting, setting_of
from fer.training.requests import ManifestRequest

_AS_TRAINED = {0: 'as the weights were trained'}


@dataclass(frozen=True, kw_only=True)
class ExtractionRequest(ManifestRequest):
    """The flags of `python -m fer.extract`."""

    model: str = setting('Network that the weights have to be for. Empty: any network.', '')
    init_from: str = setting('Run folder, checkpoint, file of public weights, or starter:face.', is_path=True)
    output: str = setting('File to write (.npz).', is_path=True)
    item: str = setting(
        'What a line of the manifest is.',
        'frame',
        choices={'frame': 'a frame of a video', 'still': 'an image of its own'},
    )
    batch_size: int = setting('Images at a time. It changes results by rounding only.', 32, at_least=1, noun='images')
    image_size: int = setting(
        'Height and width of the images in pixels.', 0, choices=_AS_TRAINED, at_least=1, noun='pixels'
    )
    width: float = setting_of(
        TrainConfig, 'width', help='Multiplies the channels of the network.', default=0.0, choices=_AS_TRAINED
    )
    global_pool: bool | None = setting_of(TrainConfig, 'global_pool', by_default='as the weights were trained')
    max_bad_fraction: float = setting_of(TrainConfig, 'max_bad_fraction')
    input_convention: str = setting_of(TrainConfig, 'input_convention')
    allow_missing: bool = setting_of(
        TrainConfig, 'allow_missing', help='Keep random values for variables that the weights do not have.'
    )
