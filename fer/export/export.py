# SPDX-License-Identifier: Apache-2.0
"""The steps of an export: open the network, build its graph, write it, compare it, describe it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.errors import InputError
from fer.export.card import EXAMPLE_FILE, README_FILE, describe, explain_temperature, make_metadata, write_files
from fer.export.graph import AUDIO, IMAGES, LENGTHS, ServedGraph, build_served, has_windows, old_loops, open_cpu_session
from fer.export.onnx_file import MODEL_FILE, check_extra, run_onnx, write_onnx
from fer.export.request import ONNX, ExportRequest
from fer.export.saved_model import MODEL_FOLDER, run_saved_model, write_saved_model
from fer.export.source import calibrate, open_source
from fer.files import atomic_folder
from fer.nets.weights.starter import CARD_FILE
from fer.tf1 import tf
from fer.training.stages import Blueprint

TOLERANCE = 1e-4  # largest difference between the answers of the export and of the run, relative above 1
_PROBE_STEPS = 3  # frames of the longest window that is compared


class Written(NamedTuple):
    """A network in a file."""

    path: Path
    difference: float  # largest difference to the run's answers


def export(request: ExportRequest) -> list[str]:
    """Writes the folder of an exported network, all of its files or none.

    Returns:
      Lines for the screen.

    Raises:
      InputError: a bad request, no run there, a damaged one, a missing package, or a network that answers otherwise
        after the conversion.
    """
    request.check()
    output = Path(request.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f'--output={output}: already used; choose a new folder')
    if request.format == ONNX:
        check_extra()
    source = open_source(request)
    calibration = calibrate(request, source)
    about = describe(request.format, source, calibration)
    with atomic_folder(output) as folder:
        with tf.Graph().as_default(), old_loops(), open_cpu_session() as session:
            served = build_served(source.blueprint, calibration.temperature)
            source.restore(session)
            written = _write_network(request, folder, session, served, source.blueprint, make_metadata(about, source))
        write_files(folder, about, source, written.path, written.difference)
        size = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
    return [
        f'{source.name} ({source.weights}): {", ".join(served.inputs)} -> {", ".join(served.outputs)}',
        explain_temperature(calibration),
        f'largest difference to the answers of the run: {written.difference:.1e}',
        f'{output}: {", ".join((written.path.name, CARD_FILE, README_FILE, EXAMPLE_FILE))}; {size / 1e6:.1f} MB in all',
    ]


def _write_network(
    request: ExportRequest,
    folder: Path,
    session: tf.Session,
    served: ServedGraph,
    blueprint: Blueprint,
    metadata: Mapping[str, str],
) -> Written:
    """Writes the network below a folder, and compares its answers with those of the session."""
    if request.format == ONNX:
        path = folder / MODEL_FILE
        write_onnx(path, session, served, metadata)
        run: Callable = run_onnx
    else:
        path = folder / MODEL_FOLDER
        write_saved_model(path, session, served, metadata, Path(request.output) / MODEL_FOLDER)
        run = run_saved_model
    differences = []
    for items in (1, 2):
        feeds = make_probe(blueprint, items)
        expected = session.run(served.outputs, {served.inputs[name]: value for name, value in feeds.items()})
        found = run(path, feeds)
        differences += [_difference(found[name], value) for name, value in expected.items()]
    difference = float(np.max(differences))  # NaN if one is
    if not difference <= TOLERANCE:
        raise InputError(
            f'--format={request.format}: the answers differ from those of the run by {difference:.1e}; expected at '
            f'most {TOLERANCE:g}. Report it with the output of python -m fer.doctor'
        )
    return Written(path, difference)


def make_probe(blueprint: Blueprint, items: int) -> dict[str, np.ndarray]:
    """Returns random values of all inputs of `build_served`, the same in every process.

    Args:
      blueprint: of the run.
      items: stills, videos or windows. Windows have 1 to 3 frames, the last window 3.
    """
    rng, config = np.random.default_rng(0), blueprint.config
    shape = (items, _PROBE_STEPS) if has_windows(blueprint) else (items,)
    feeds: dict[str, np.ndarray] = {}
    if blueprint.stage.contents.images:
        feeds[IMAGES] = rng.integers(0, 256, (*shape, config.image_size, config.image_size, 3), np.uint8)
    if scaling := blueprint.scaling:
        values = scaling.offset + scaling.scale * rng.uniform(-2, 2, (*shape, len(scaling.names)))
        feeds[AUDIO] = values.astype(np.float32)
    if has_windows(blueprint):
        feeds[LENGTHS] = np.arange(_PROBE_STEPS - items + 1, _PROBE_STEPS + 1, dtype=np.int32)
    return feeds


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference, relative to the expected value if that is above 1. NaN if shapes differ."""
    if found.shape != expected.shape:
        return float('nan')
    return float(np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected))))
