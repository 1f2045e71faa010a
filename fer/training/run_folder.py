# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: everything that made it and everything it made."""

import dataclasses
import json
import os
import platform
import shutil
import socket
import sys
from pathlib import Path

import numpy as np

from fer.cpus import count_cpus
from fer.data.audio import read_scaling, write_scaling
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.files import atomic_write, is_temporary, remove_temporaries
from fer.nets.conventions import Convention
from fer.nets.weights.convention_file import read_convention, write_convention
from fer.prepare_flags import PrepareFlags, clip_contexts, read_run_prepare_flags, write_run_prepare_flags
from fer.results.videos import read_class_counts
from fer.runs import provenance
from fer.runs.checkpoints import best_or_last_checkpoint, latest_checkpoint
from fer.runs.config import TrainConfig, list_differences, read_flagfile, write_flagfile
from fer.runs.names import (
    AUDIO_FLAGS_FILE,
    CLASS_COUNTS_FILE,
    CONVENTION_FILE,
    ENVIRONMENT_FILE,
    FINISHED_FILE,
    FLAGS_FILE,
    LAST_STATE,
    LOCK_FILE,
    PREPARE_FLAGS_FILE,
    SAMPLE_RATES_FILE,
    SCALING_FILE,
    VISUAL_FLAGS_FILE,
)
from fer.sample_rates import Rates, read_rates, write_rates
from fer.stack import version
from fer.training.checks import check_config
from fer.training.stages import Blueprint, get_stage

_PACKAGES = ('tensorflow', 'tf-keras', 'tf-slim', 'numpy', 'opencv-python-headless', 'absl-py')
# Settings that may change on --resume: where the run stops, where it and its data are, and its use of the machine.
_MAY_CHANGE_ON_RESUME = (
    *('max_steps', 'run_dir', 'data_root', 'train_manifest', 'val_manifest'),
    *('frame_cache', 'frame_cache_gb', 'intra_op_threads', 'inter_op_threads'),
    *('feature_cache', 'feature_cache_gb', 'frames_per_chunk', 'gpu', 'gpu_memory_gb'),
)
_ABANDONED = 3600  # seconds. Younger temporary files may belong to an evaluation, which needs no lock.
_ORIGINS = ('init_from', 'audio_run_dir')  # parent runs may move if their folder names stay the same


def open_run(config: TrainConfig, *, resume: bool, overwrite: bool) -> str | None:
    """Checks a run folder whose lock is held, without writing anything.

    Returns:
      The checkpoint to resume from, or None to start a new run.

    Raises:
      InputError: the folder contains a run but neither `resume` nor `overwrite` is set, or it contains files that do
        not belong to a run, or the run to resume has other settings.
    """
    folder = Path(config.run_dir)
    if all(path.name == LOCK_FILE or is_temporary(path) for path in folder.iterdir()):
        return None
    if not (folder / FLAGS_FILE).exists():
        raise InputError(f'--run_dir={folder}: contains files but no {FLAGS_FILE}; expected a run or an empty folder')
    if not resume:
        if overwrite:
            return None
        raise InputError(f'--run_dir={folder}: contains a run; --resume continues it, --overwrite replaces it')
    before = read_flagfile(folder / FLAGS_FILE)
    now, then = ({name: getattr(settings, name) for name in _ORIGINS} for settings in (config, before))
    moved = {name: path for name, path in now.items() if Path(path).name == Path(then[name]).name}
    changed = list_differences(config, dataclasses.replace(before, **moved), _MAY_CHANGE_ON_RESUME)
    if changed:
        raise InputError(f'--resume: settings differ from {folder / FLAGS_FILE} (in brackets): {", ".join(changed)}')
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None and (folder / LAST_STATE).exists():  # it is written after the first complete checkpoint
        raise InputError(f'--resume: {folder / LAST_STATE} names no complete checkpoint to resume from')
    return checkpoint


def start_run(
    blueprint: Blueprint,
    first_step: int,
    class_counts: np.ndarray,
    sample_rates: Rates,
    prepare_flags: PrepareFlags,
    origin: str,
) -> Path:
    """Writes the files that are known before the first step, into an existing folder.

    A run from step 0 first removes an earlier run. A resumed run keeps all files and adds environment_<step>.json,
    because it may resume on another machine or commit.

    Args:
      blueprint: of the run.
      first_step: 0, or the step of the checkpoint that the run resumes from.
      class_counts: int [7], the training videos of each class.
      sample_rates: the training videos by the sampling rate of their audio in Hz, empty if unknown.
      prepare_flags: of the manifests of training and validation.
      origin: the source of the CNN's weights, for the reader of convention.json.
    """
    config = blueprint.config
    folder = Path(config.run_dir)
    about = environment()
    if not first_step:
        remove_run(folder)
    remove_temporaries(folder, _ABANDONED)
    (folder / FINISHED_FILE).unlink(missing_ok=True)
    write_flagfile(folder / FLAGS_FILE, config)
    with atomic_write(folder / (f'environment_{first_step}.json' if first_step else ENVIRONMENT_FILE)) as file:
        json.dump(about, file, indent=1)
    with atomic_write(folder / CLASS_COUNTS_FILE) as file:
        json.dump(dict(zip(EMOTIONS, class_counts.tolist(), strict=True)), file, indent=1)
    if not first_step:
        if sample_rates:
            write_rates(folder / SAMPLE_RATES_FILE, sample_rates)
        write_run_prepare_flags(folder / PREPARE_FLAGS_FILE, prepare_flags)
        _write_blueprint(folder, blueprint, origin)
    return folder


def remove_run(folder: Path) -> None:
    """Removes a run, except its lock."""
    # The flags go last, because a folder with files but no flags counts as not a run.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == FLAGS_FILE):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK_FILE:
            path.unlink()


def finish_run(folder: Path, step: int, reason: str) -> None:
    """Records that a run has ended: the step, the reason, and the checkpoint that is used from now on."""
    checkpoint = best_or_last_checkpoint(folder)
    with atomic_write(folder / FINISHED_FILE) as file:
        json.dump({'step': step, 'reason': reason, 'checkpoint': checkpoint and Path(checkpoint).name}, file, indent=1)


def _write_blueprint(folder: Path, blueprint: Blueprint, origin: str) -> None:
    """Writes what the run's graph is built from besides its flags, so that the folder needs no other run's folder."""
    if blueprint.convention:
        write_convention(folder, blueprint.config.model, blueprint.convention, origin)
    if blueprint.scaling:
        write_scaling(folder / SCALING_FILE, blueprint.scaling)
    for name, member in ((AUDIO_FLAGS_FILE, blueprint.audio_run), (VISUAL_FLAGS_FILE, blueprint.visual_run)):
        if member:
            write_flagfile(folder / name, member)


def read_blueprint(run_dir: str | Path) -> Blueprint:
    """Reads from a run's folder what its graph is built from.

    Raises:
      InputError: the folder has no run, or a file of the run is missing or damaged.
    """
    folder = Path(run_dir)
    config = _read_flags(folder / FLAGS_FILE)
    stage = get_stage(config.stage, config.model)
    members = [
        _read_flags(folder / name) if (folder / name).exists() else None
        for name in (AUDIO_FLAGS_FILE, VISUAL_FLAGS_FILE)
    ]
    if members[0] is None and config.audio_run_dir:
        raise InputError(f'{folder}: no {AUDIO_FLAGS_FILE}; expected the flags of the audio run that it fuses')
    return Blueprint(
        config,
        stage,
        _read_run_convention(folder, config.model) if stage.contents.images else None,
        read_scaling(folder / SCALING_FILE) if stage.contents.audio_size else None,
        *members,
    )


def _read_flags(path: Path) -> TrainConfig:
    """Reads a flagfile of the run, and checks its settings as train.py does."""
    config = read_flagfile(path)
    try:
        check_config(config)
    except InputError as error:
        raise InputError(f'{path}: {error}') from None
    return config


def environment() -> dict:
    """Returns what the run runs on: versions, commit, host, command."""
    return {
        'started': provenance.now(),
        'command': sys.argv,
        'host': socket.gethostname(),
        'platform': platform.platform(),
        'cpus': count_cpus(),
        'python': platform.python_version(),
        'onednn': os.environ.get('TF_ENABLE_ONEDNN_OPTS'),  # it changes the last digits of results
        'packages': {name: version(name) for name in _PACKAGES},
        'commit': provenance.commit(),
        'uncommitted_changes': provenance.uncommitted_changes(),
    }


def read_run_rates(run_dir: str | Path) -> Rates:
    """Returns the training videos by the sampling rate of their audio in Hz. Empty if unknown."""
    return read_rates([Path(run_dir) / SAMPLE_RATES_FILE])


def read_clip_contexts(run_dir: str | Path) -> set[str]:
    """Returns the values of --clip_context that the run's data were prepared with. Empty if unknown."""
    return clip_contexts(read_run_prepare_flags(Path(run_dir) / PREPARE_FLAGS_FILE))


def check_class_order(run_dir: str | Path) -> None:
    """Raises InputError if the classes of a run are in another order. A run that has no class counts passes."""
    if (Path(run_dir) / CLASS_COUNTS_FILE).exists():
        read_class_counts(run_dir)


def _read_run_convention(run_dir: Path, model: str) -> Convention:
    """Reads the convention of the run's network."""
    found = read_convention(run_dir)
    if found is None:
        raise InputError(f'{run_dir}: no {CONVENTION_FILE}; expected the convention of the run')
    network, convention = found
    if network != model:
        path = Path(run_dir) / CONVENTION_FILE
        raise InputError(f'{path}: the convention of {network}; expected that of {model}, as in {FLAGS_FILE}')
    return convention
