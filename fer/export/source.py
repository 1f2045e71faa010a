# SPDX-License-Identifier: Apache-2.0
"""The network that is exported: a run of any stage, or a network of the starter set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer.errors import InputError
from fer.export.request import ExportRequest
from fer.files import read_object
from fer.nets.weights.starter import CARD_FILE, WEIGHTS_FILE, find_starter, read_card
from fer.results.calibration import fit_temperature
from fer.results.results_file import UNKNOWN, read_results
from fer.runs.names import LAST_PREFIX, STARTER_PREFIX
from fer.runs.provenance import digest
from fer.starter.network import open_network
from fer.tf1 import tf
from fer.training import checkpoints, run_folder
from fer.training.evaluate import find_checkpoint
from fer.training.restore import Origin, initialise
from fer.training.stages import Blueprint


class Source(NamedTuple):
    """A network, and where it comes from."""

    name: str  # `starter:face`, or the name of the run's folder
    folder: Path
    weights: str  # name of the file with the weights
    blueprint: Blueprint
    restore: Callable[[tf.Session], None]  # gives the variables of a session's graph their values
    card: dict[str, Any] | None  # of the starter set


class Calibration(NamedTuple):
    """The temperature that the logits are divided by before the softmax."""

    temperature: float
    fitted_on: str  # in words, '' if it is not fitted
    items: int | None = None  # of a results file that it is fitted on
    results_sha256: str | None = None  # of that file


def open_source(request: ExportRequest) -> Source:
    """Opens the network of a request.

    Raises:
      InputError: no run there, a damaged one, or no such network in the starter set.
    """
    starter = find_starter(request.run_dir, '--run_dir')
    if starter is None:
        return _open_run(request)
    if request.checkpoint:
        raise InputError(f'--checkpoint={request.checkpoint}: a network of the starter set has none; remove the flag')
    card = read_card(starter)
    blueprint, weights = open_network(starter)

    def restore(session: tf.Session) -> None:
        initialise(session, [Origin(weights.source.network, weights, '')], allow_missing=False)

    return Source(f'{STARTER_PREFIX}{card["name"]}', starter, WEIGHTS_FILE, blueprint, restore, card)


def _open_run(request: ExportRequest) -> Source:
    folder = Path(request.run_dir)
    blueprint = run_folder.read_blueprint(folder)
    checkpoint = find_checkpoint(request.run_dir, request.checkpoint)

    def restore(session: tf.Session) -> None:
        checkpoints.restore_model(session, checkpoint, tf.global_variables())

    weights = Path(checkpoint).name
    return Source(folder.resolve().name, folder, weights, blueprint, restore, _read_unpacked_card(folder, weights))


def _read_unpacked_card(run_dir: Path, checkpoint: str) -> dict[str, Any] | None:
    """Returns the card of a network that `python -m fer.starter unpack` wrote to a run folder, None for other runs."""
    path = run_dir / CARD_FILE
    if not path.exists():
        return None
    try:
        card = read_object(path)
        return card if checkpoint == f'{LAST_PREFIX}-{card["recipe"]["step"]}' else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path}: {type(error).__name__}: {error}; unpack the network of the starter set again'
        ) from None


def calibrate(request: ExportRequest, source: Source) -> Calibration:
    """Returns the temperature: fitted on --calibrate_on, or that of the starter network's card, or 1.

    Raises:
      InputError: the results file cannot be read, or the network has answered for none of its labelled items.
    """
    if not request.calibrate_on:
        if source.card is None:
            return Calibration(1.0, '')
        try:
            about = source.card['calibration']
            fitted_on = f'{about["fitted_on"]} (card of {STARTER_PREFIX}{source.card["name"]})'
            return Calibration(float(about['temperature']), fitted_on)
        except (KeyError, TypeError, ValueError) as error:
            path = source.folder / CARD_FILE
            raise InputError(f'{path}: {type(error).__name__}: {error}; install the starter network again') from None
    results = read_results(request.calibrate_on)
    own = np.array([reason == UNKNOWN for reason in results.fallback])  # a fallback has no logits of the network
    rows = np.flatnonzero(own & (results.labels >= 0))
    if not rows.size:
        raise InputError(
            f'--calibrate_on={request.calibrate_on}: no item has a label and an answer of the network; evaluate the '
            'run on labelled data'
        )
    temperature = fit_temperature(results.logits[rows], results.labels[rows])
    path = Path(request.calibrate_on)
    return Calibration(temperature, path.name, len(rows), digest(path))
