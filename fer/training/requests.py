# SPDX-License-Identifier: Apache-2.0
"""The settings of evaluate.py, and those that it shares with `python -m fer.extract`."""

from dataclasses import dataclass

from fer.errors import InputError
from fer.runs.config import TrainConfig
from fer.settings import check_values, setting, setting_of, settings_of, split_paths

_SKIP = 'leave out the frame and list it in a table beside the output, after decoding every image once before'
_AS_IN_TRAINING = {'': 'as in training'}


@dataclass(frozen=True, kw_only=True)
class ManifestRequest:
    """One manifest, and how to read it."""

    manifest: str = setting('Manifest (.txt). Its lines may have labels or not.', is_path=True)
    data_root: str = setting(
        "Folder that relative paths in the manifest start from. Empty: the manifest's own folder.", '', is_path=True
    )
    feature_cache: str = setting_of(
        TrainConfig,
        'feature_cache',
        help='Folder that keeps the features of frames for every run with the same CNN. Empty: keep none.',
    )
    feature_cache_gb: float = setting_of(TrainConfig, 'feature_cache_gb')
    on_bad_frame: str = setting_of(TrainConfig, 'on_bad_frame', choices={'error': 'stop', 'skip': _SKIP})
    max_bad_fraction: float | None = setting_of(TrainConfig, 'max_bad_fraction')
    gpu: int = setting_of(TrainConfig, 'gpu')
    gpu_memory_gb: float = setting_of(TrainConfig, 'gpu_memory_gb')

    def check(self) -> None:
        """Raises InputError for a value that is not allowed."""
        check_values(self)
        if len(split_paths(self.manifest)) != 1:
            raise InputError(f'--manifest={self.manifest}: expected one manifest; give each to a command of its own')


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest(ManifestRequest):
    """The flags of evaluate.py."""

    run_dir: str = setting('Folder of the run.', is_path=True)
    split: str = setting('Names the files that are written: results_<split>.txt and so on.', 'val')
    batch_size: int = setting(
        'Windows at a time. It changes results by rounding only.',
        0,
        choices={0: 'as in training'},
        at_least=1,
        noun='windows',
    )
    fallback: str = setting(
        'How to answer a video without frames.',
        'prior',
        choices={'prior': 'with the class frequencies of training', 'audio': 'as in --audio_results'},
    )
    audio_results: str = setting(
        'Results file of an audio run on the split, for --fallback=audio. If it answers a '
        'video by a fallback of its own, that video gets the class frequencies of training.',
        '',
        is_path=True,
    )
    checkpoint: str = setting(
        'The checkpoint that answers.',
        '',
        choices={'': 'the best in validation if the run kept it, else the last', 'last': '', 'best': ''},
    )
    video_answer: str = setting_of(
        TrainConfig,
        'video_answer',
        default='',
        choices={**_AS_IN_TRAINING, **settings_of(TrainConfig)['video_answer'].choices},
    )
    tta_views: int = setting(
        'Test-time augmentation: the mean over so many views of each image. The views are the image, its mirror, and '
        'four corner crops with their mirrors.',
        1,
        at_least=1,
        at_most=10,
        noun='views',
    )
    nonfinite_audio: str = setting_of(
        TrainConfig,
        'nonfinite_audio',
        default='',
        choices={**_AS_IN_TRAINING, **settings_of(TrainConfig)['nonfinite_audio'].choices},
    )
    on_bad_frame: str = setting_of(
        ManifestRequest,
        'on_bad_frame',
        default='',
        choices={**_AS_IN_TRAINING, **settings_of(ManifestRequest)['on_bad_frame'].choices},
    )
    max_bad_fraction: float | None = setting_of(
        ManifestRequest, 'max_bad_fraction', default=None, by_default='as in training'
    )
    xla: bool = setting_of(TrainConfig, 'xla')
    intra_op_threads: int = setting_of(TrainConfig, 'intra_op_threads')
    inter_op_threads: int = setting_of(TrainConfig, 'inter_op_threads')
    output: str = setting("Folder to write to. Empty: the run's folder.", '', is_path=True)

    def check(self) -> None:
        """Raises InputError for values that are not allowed or do not go together."""
        super().check()
        if (self.fallback == 'audio') != bool(self.audio_results):
            raise InputError(
                f'--fallback={self.fallback}: expected --audio_results with --fallback=audio, and only with it'
            )
        if not self.split or '/' in self.split:
            raise InputError(f'--split={self.split}: expected a name for files, without /')
