# SPDX-License-Identifier: Apache-2.0
"""The networks that answer for a video: runs of any stage, or networks of the starter set."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer.data.audio import check_names, scale_features
from fer.data.images import content_to_input
from fer.data.pipeline import Batch
from fer.data.windows import pad_index
from fer.emotions import EMOTIONS, NUM_CLASSES
from fer.errors import InputError
from fer.nets.weights.starter import WEIGHTS_FILE, describe_starters, find_starter, read_card
from fer.prepare.smile.sets import EMO_LARGE
from fer.prepare_flags import PrepareFlags, clip_contexts, read_run_prepare_flags
from fer.results.calibration import fit_temperature
from fer.results.results_file import Results, read_results
from fer.runs.checkpoints import best_or_last_checkpoint
from fer.runs.config import TrainConfig
from fer.runs.names import PREPARE_FLAGS_FILE
from fer.runs.provenance import digest
from fer.starter.network import open_network
from fer.tf1 import tf
from fer.training import checkpoints
from fer.training.checks import check_video_answer
from fer.training.restore import Origin, initialise
from fer.training.run_folder import check_class_order, read_blueprint, read_run_rates
from fer.training.session import SessionSettings, open_session
from fer.training.stages import Blueprint, window_length
from fer.training.tower import build_tower

STILL, WINDOW, FUNCTIONALS, CLIPS = 'still', 'window', 'functionals', 'clips'  # what a network reads
DEFAULT_IMAGE_SIZE, DEFAULT_MARGIN = 112, 0.15  # of fer.prepare
_FRAMES_AT_ONCE = 64


class Cut(NamedTuple):
    """How the faces that a network learned from were cut."""

    image_size: int
    margin: float


class Member(NamedTuple):
    """A network, and what is known about it."""

    name: str  # as the user gave it
    folder: Path
    blueprint: Blueprint
    kind: str  # STILL, WINDOW, FUNCTIONALS or CLIPS
    cut: Cut | None  # None if it reads no faces
    opensmile_sets: tuple[str, ...]  # of functionals, one of which fits
    clip_context: str  # '' if it reads no clips
    sample_rate: int | None  # of the audio that it learned from, in Hz
    temperature: float
    temperature_from: str
    recall: dict[str, float] | None  # by emotion, on test or validation data
    validation: Path | None  # its results file of validation, with labels
    weights: Path  # file of the weights
    is_starter: bool

    @property
    def reads_faces(self) -> bool:
        """Returns whether the network reads faces."""
        return self.blueprint.stage.contents.images

    @property
    def reads_audio(self) -> bool:
        """Returns whether the network reads audio."""
        return bool(self.blueprint.stage.contents.audio_size)


def open_members(names: Sequence[str], split: str) -> list[Member]:
    """Opens what --members names.

    Args:
      names: run folders, or starter:face and starter:voice.
      split: of the results files that runs were validated on.

    Raises:
      InputError: a member is missing or damaged, reads other classes, or cannot answer together with the others.
    """
    if not names:
        raise InputError('--members=: expected starter:face, starter:voice or run folders')
    members = [_open_member(name, split) for name in names]
    repeated = {name for name in names if list(names).count(name) > 1}
    if repeated:
        raise InputError(f'--members: {", ".join(sorted(repeated))} more than once; expected each once')
    for what, find in (
        ('faces cut in one way (size in pixels, margin)', lambda m: m.cut),
        ('audio of one sampling rate (Hz)', lambda m: m.sample_rate if m.reads_audio else None),
        ('audio clips of one --clip_context', lambda m: m.clip_context or None),
    ):
        found = {member.name: find(member) for member in members if find(member) is not None}
        if len(set(found.values())) > 1:
            text = ', '.join(f'{name} {_describe(value)}' for name, value in found.items())
            raise InputError(f'--members: expected {what}; found {text}')
    return members


def _describe(value: Any) -> str:
    return f'{value.image_size} and {value.margin:g}' if isinstance(value, Cut) else str(value)


def _open_member(name: str, split: str) -> Member:
    starter = find_starter(name)
    folder = starter or Path(name)
    blueprint = open_network(starter)[0] if starter else read_blueprint(folder)
    check_class_order(folder)
    config = dataclasses.replace(blueprint.config, frame_cache='', mixed_precision=False, xla=False)
    blueprint = blueprint._replace(config=config)
    check_video_answer(config, blueprint.stage)
    flags = read_run_prepare_flags(folder / PREPARE_FLAGS_FILE)
    kind = _kind_of(blueprint)
    contexts = clip_contexts(flags) if kind in (CLIPS, WINDOW) and blueprint.stage.contents.audio_size else set()
    hears = bool(blueprint.stage.contents.audio_size)
    rates = read_run_rates(folder) if hears else {}
    card = read_card(folder) if starter else None
    validation = None if starter else _find_validation(folder, split)
    temperature, origin, recall = _calibration(card, validation)
    return Member(
        name=name,
        folder=folder,
        blueprint=blueprint,
        kind=kind,
        cut=_read_cut(flags, config, card) if blueprint.stage.contents.images else None,
        opensmile_sets=_sets_of(flags) if kind == FUNCTIONALS else (),
        clip_context=(sorted(contexts)[0] if contexts else 'contextual') if hears and kind != FUNCTIONALS else '',
        sample_rate=max(rates, key=lambda rate: rates[rate]) if rates else None,
        temperature=temperature,
        temperature_from=origin,
        recall=recall,
        validation=validation,
        weights=folder / WEIGHTS_FILE if starter else _find_weights(folder),
        is_starter=bool(starter),
    )


def _kind_of(blueprint: Blueprint) -> str:
    contents = blueprint.stage.contents
    if contents.images:
        return STILL if contents.item == 'still' else WINDOW
    return CLIPS if contents.item == 'frame' else FUNCTIONALS


def _find_weights(folder: Path) -> Path:
    checkpoint = best_or_last_checkpoint(folder)
    if checkpoint is None:
        raise InputError(f'{folder}: no checkpoint; expected one that train.py wrote')
    return Path(f'{checkpoint}.data-00000-of-00001')


def _find_validation(folder: Path, split: str) -> Path | None:
    path = folder / f'results_{split}.txt'
    return path if path.exists() and (read_results(path).labels >= 0).all() else None


def _calibration(card: dict | None, validation: Path | None) -> tuple[float, str, dict[str, float] | None]:
    """Returns the temperature, what it was fitted on, and the recall of each class."""
    if card:
        recall = {name: row['recall'] for name, row in card['scores']['per_class'].items()}
        return float(card['calibration']['temperature']), f'card: {card["calibration"]["fitted_on"]}', recall
    if validation is None:
        return 1.0, 'not fitted: no results of validation with labels in the run folder', None
    results = read_results(validation)
    return fit_temperature(results.logits, results.labels), str(validation.name), recall_of(results)


def recall_of(results: Results) -> dict[str, float]:
    """Returns the share of each class's videos that got its answer, without classes that have no video."""
    right = results.predictions == results.labels
    found = {name: right[results.labels == index] for index, name in enumerate(EMOTIONS)}
    return {name: float(rows.mean()) for name, rows in found.items() if len(rows)}


def _read_cut(flags: PrepareFlags, config: TrainConfig, card: dict | None) -> Cut:
    """Returns how faces have to be cut, from how the faces of training were."""
    if card:  # published faces that came cut out. The margin was measured
        return Cut(config.image_size, float(card['data'][0]['margin']))
    found = {
        Cut(int(one.get('image_size', DEFAULT_IMAGE_SIZE)), float(one.get('margin', DEFAULT_MARGIN)))
        for one in flags.values()
    }
    return sorted(found)[0] if len(found) == 1 else Cut(DEFAULT_IMAGE_SIZE, DEFAULT_MARGIN)


def _sets_of(flags: PrepareFlags) -> tuple[str, ...]:
    names = {name for one in flags.values() for name in one.get('opensmile_set', EMO_LARGE).split(',')}
    return tuple(sorted(names)) or (EMO_LARGE,)


class Network:
    """A member's graph in a session, with its weights."""

    def __init__(self, member: Member, settings: SessionSettings) -> None:
        self.member = member
        blueprint = member.blueprint
        self.seq_len = window_length(blueprint)
        contents = blueprint.stage.contents
        graph = tf.Graph()
        with graph.as_default():
            self._jpegs = tf.placeholder(tf.string, [None])
            self._lengths = tf.placeholder(tf.int32, [None])
            images = audio = None
            if contents.images:
                size = blueprint.config.image_size
                images = tf.map_fn(
                    lambda content: content_to_input(content, size),
                    self._jpegs,
                    fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
                )
            if contents.audio_size:
                assert blueprint.scaling, 'a run with audio has a scaling'
                audio = tf.placeholder(tf.float32, [None, len(blueprint.scaling.names)])
            self._audio = audio
            each = tf.zeros_like(self._lengths)
            padding = pad_index(self._lengths, self.seq_len)
            batch = Batch(images, audio, self._lengths, padding, each, each)
            tower = build_tower(blueprint, batch, is_training=False)
            self._outputs = tower.window_logits, tower.frame_logits
            self._session = open_session(settings)
            restore(self._session, member)
            graph.finalize()

    def answer_faces(self, jpegs: Sequence[bytes]) -> np.ndarray:
        """Returns the logits of faces, each alone, float32 [N, 7]."""
        parts = [
            self.answer_windows(jpegs[first : first + _FRAMES_AT_ONCE], None, None)[0]
            for first in range(0, len(jpegs), _FRAMES_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, NUM_CLASSES), np.float32)

    def answer_windows(
        self, jpegs: Sequence[bytes] | None, audio: np.ndarray | None, lengths: Sequence[int] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Answers for windows.

        Args:
          jpegs: the N faces of all windows, one after the other, None if the network reads none.
          audio: float32 [N, D], not scaled, None if the network reads none.
          lengths: faces of each window, None for one each.

        Returns:
          Logits of the windows, float32 [B, 7], and of the frames, float32 [N, 7].
        """
        number = len(jpegs) if jpegs is not None else len(audio) if audio is not None else 0
        feed: dict = {self._lengths: [1] * number if lengths is None else list(lengths)}
        if jpegs is not None:
            feed[self._jpegs] = np.array(jpegs, dtype=object)
        if audio is not None:
            scaling = self.member.blueprint.scaling
            assert scaling
            feed[self._audio] = scale_features(audio, scaling)
        return self._session.run(self._outputs, feed)

    def check_audio(self, names: Sequence[str]) -> None:
        """Raises InputError unless features are those that the network learned from."""
        scaling = self.member.blueprint.scaling
        assert scaling
        check_names(names, scaling, self.member.name)

    def close(self) -> None:
        """Closes the session."""
        self._session.close()


def restore(session: tf.Session, member: Member) -> None:
    """Restores the variables of the default graph, which is that of the session, from a member's weights."""
    if member.is_starter:
        _, weights = open_network(member.folder)
        initialise(session, [Origin(weights.source.network, weights, '')], allow_missing=False)
    else:
        checkpoint = best_or_last_checkpoint(member.folder)
        assert checkpoint, 'open_members found one'
        checkpoints.restore_model(session, checkpoint, tf.global_variables())


def describe_members(members: Sequence[Member]) -> list[dict[str, Any]]:
    """Returns the entry of summary.json for each member."""
    return [
        {
            'name': member.name,
            'stage': member.blueprint.config.stage,
            'model': member.blueprint.config.model,
            'temperature': member.temperature,
            'temperature_from': member.temperature_from,
            'recall': member.recall,
        }
        for member in members
    ]


def digest_weights(members: Sequence[Member]) -> dict[str, str]:
    """Returns the SHA-256 of the weights of each member."""
    return {member.name: digest(member.weights) for member in members}


def describe_origins(members: Sequence[Member]) -> list[str]:
    """Returns a line for each network of the starter set, with its terms."""
    tensors = [open_network(member.folder)[1].tensors for member in members if member.is_starter]
    return describe_starters(tensors)
