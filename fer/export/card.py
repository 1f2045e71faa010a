# SPDX-License-Identifier: Apache-2.0
"""The files beside an exported network: its card, a README for people, and an example that runs it."""

import json
import shutil
from pathlib import Path
from typing import Any

from fer import __version__
from fer.data.audio import LARGEST, write_scaling
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.export.graph import has_windows
from fer.export.onnx_file import MODEL_FILE, OPSET
from fer.export.request import ONNX
from fer.export.saved_model import MODEL_FOLDER
from fer.export.source import Calibration, Source
from fer.files import atomic_write, files_below, read_object
from fer.nets.weights.starter import CARD_FILE, SET
from fer.prepare_flags import read_run_prepare_flags
from fer.runs.names import PREPARE_FLAGS_FILE, RESTORED_FILE, SCALING_FILE
from fer.runs.provenance import commit, digest, now
from fer.settings import format_values
from fer.starter.network import LICENCE_FILE
from fer.starter.recipe import shorten_paths, shorten_prepare_flags
from fer.tf1 import tf

FORMAT_VERSION = 1
README_FILE, EXAMPLE_FILE = 'README.md', 'example.py'
_EXAMPLE = Path(__file__).with_name('example')  # the parts of example.py
PURPOSE = (
    'The classes are labels that others gave to an expression or to acted speech. They do not tell what somebody feels.'
)
RESPONSIBLE_USE = 'docs/responsible-use.md of afew-fer, before it answers for people'
# Of the card of a starter network.
_STARTER_FACTS = ('summary', 'licence', 'notice', 'data', 'intended_for', 'not_for', 'storage', 'scores', 'calibration')
_SCORES = ('split', 'checkpoint', 'correct', 'total', 'accuracy', 'interval_95', 'f1')


def describe(form: str, source: Source, calibration: Calibration) -> dict[str, Any]:
    """Returns the card of an exported network, except what is known after it was written.

    Args:
      form: of the file, a value of --format.
      source: the network.
      calibration: of its probabilities.
    """
    blueprint = source.blueprint
    return {
        'format_version': FORMAT_VERSION,
        'format': form,
        'file': MODEL_FILE if form == ONNX else MODEL_FOLDER,
        'classes': list(EMOTIONS),
        'purpose': PURPOSE,
        'responsible_use': RESPONSIBLE_USE,
        'source': {'name': source.name, 'weights': source.weights, 'restored': _read_origins(source)},
        'inputs': _describe_inputs(source),
        'outputs': _describe_outputs(source),
        'windows': _describe_windows(source),
        'calibration': calibration._asdict(),
        'network': format_values(shorten_paths(blueprint.config)),
        'prepared_with': shorten_prepare_flags(read_run_prepare_flags(source.folder / PREPARE_FLAGS_FILE)),
        'scores': _read_scores(source),
        'starter': {name: source.card[name] for name in _STARTER_FACTS if name in source.card} if source.card else None,
        'made_with': {'fer': __version__, 'commit': commit(), 'tensorflow': tf.__version__, 'time': now()}
        | ({'opset': OPSET} if form == ONNX else {}),
    }


def _describe_inputs(source: Source) -> dict[str, dict[str, Any]]:
    """Returns for each input its type, its shape, and the preprocessing that is inside the network."""
    blueprint, inputs = source.blueprint, {}
    axes = ['B', 'T'] if has_windows(blueprint) else ['B']
    if convention := blueprint.convention:
        size = blueprint.config.image_size
        inputs['images'] = {
            **{'type': 'uint8', 'shape': [*axes, 'H', 'W', 3], 'values': 'faces as prepared, RGB, of any size'},
            **{'resized_to': [size, size], 'grey': convention.grey, 'order': convention.order},
            **{'mean': list(convention.mean), 'std': list(convention.std)},
        }
    if scaling := blueprint.scaling:
        inputs['audio'] = {
            **{'type': 'float32', 'shape': [*axes, len(scaling.names)], 'values': 'features as openSMILE gives them'},
            **{'scaling': scaling.kind, 'limit': None if scaling.kind == 'none' else LARGEST},
            **{'constants': SCALING_FILE, 'replaced_by_mean': 'NaN and infinity'},
        }
    if has_windows(blueprint):
        values = 'frames of each window, from 1 to T. Another length gives NaN. Values past it change nothing'
        inputs['lengths'] = {'type': 'int32', 'shape': ['B'], 'values': values}
    return inputs


def _describe_outputs(source: Source) -> dict[str, dict[str, Any]]:
    """Returns for each output its type, its shape and its meaning."""
    of_classes = ['B', len(EMOTIONS)]
    outputs = {
        'logits': {'type': 'float32', 'shape': of_classes, 'values': 'before the temperature'},
        'probabilities': {'type': 'float32', 'shape': of_classes, 'values': 'softmax of logits / temperature'},
    }
    if has_windows(source.blueprint):
        values = 'logits of each frame. Past the length of a window, those of its last frame'
        outputs['frame_logits'] = {'type': 'float32', 'shape': ['B', 'T', len(EMOTIONS)], 'values': values}
    return outputs


def _describe_windows(source: Source) -> dict[str, Any] | None:
    """Returns how a video is cut into windows and how their answers are combined, None for a stage without windows."""
    if not has_windows(source.blueprint):
        return None
    config = source.blueprint.config
    return {name: getattr(config, name) for name in ('seq_len', 'classify', 'aggregate', 'video_answer')}


def _read_origins(source: Source) -> list[str]:
    """Returns the lines of restored.txt that name the weights the run started from, and their terms."""
    try:
        lines = (source.folder / RESTORED_FILE).read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError):  # a network of the starter set has none
        return []
    listed = ('# variable', '# unused', '# left')
    return [line.removeprefix('# ') for line in lines if line.startswith('# ') and not line.startswith(listed)]


def _read_scores(source: Source) -> list[dict[str, Any]]:
    """Returns the scores that evaluate.py wrote to the run's folder for the same checkpoint."""
    found = []
    for path in sorted(source.folder.glob('metrics_*.json')):
        try:
            metrics = read_object(path)
        except (OSError, ValueError) as error:
            raise InputError(f'{path}: {error}; evaluate the run again, or remove the file') from None
        if metrics.get('checkpoint') == source.weights:
            found.append({name: metrics.get(name) for name in _SCORES})
    return found


def make_metadata(about: dict[str, Any], source: Source) -> dict[str, str]:
    """Returns the texts that the network's own file carries: the card, the classes and the names of audio features."""
    texts = {'card': json.dumps(about), 'classes': json.dumps(about['classes'])}
    if source.blueprint.scaling:
        texts['audio_features'] = json.dumps(source.blueprint.scaling.names)
    return texts


def explain_temperature(calibration: Calibration) -> str:
    """Returns a line about the temperature of the probabilities."""
    temperature, fitted_on, items, _ = calibration
    if not fitted_on:
        return 'temperature: 1, so probabilities are not calibrated; --calibrate_on=results_val.txt fits it'
    number = f' ({items} items)' if items else ''
    return f'temperature: {temperature:.4f}, fitted on {fitted_on}{number}'


def write_files(folder: Path, about: dict[str, Any], source: Source, model: Path, difference: float) -> None:
    """Writes card.json, README.md and example.py, and what belongs to them, beside a network.

    Args:
      folder: has the network.
      about: of `describe`.
      source: the network.
      model: the network's file or folder.
      difference: the largest one between its answers and those of the run.
    """
    parts = files_below(model) if model.is_dir() else [model]
    sums = {str(path.relative_to(folder)): digest(path) for path in parts}
    about = about | {'largest_difference': difference, 'sha256': sums}
    if source.blueprint.scaling:
        write_scaling(folder / SCALING_FILE, source.blueprint.scaling)
    if source.card:
        shutil.copyfile(SET / LICENCE_FILE, folder / LICENCE_FILE)
    with atomic_write(folder / CARD_FILE) as file:
        json.dump(about, file, indent=1)
        file.write('\n')
    (folder / README_FILE).write_text('\n'.join(_write_readme(about)) + '\n', encoding='utf-8')
    (folder / EXAMPLE_FILE).write_text(_write_example(about['format']), encoding='utf-8')


def _write_example(form: str) -> str:
    """Returns the program that runs the network without fer. It differs between formats in how a network is run."""
    import_line, network = (_EXAMPLE / f'{form}.txt').read_text(encoding='utf-8').split('\n', 1)
    text = (_EXAMPLE / 'example.txt').read_text(encoding='utf-8')
    return text.replace('{IMPORT}', import_line).replace('{NETWORK}', network)


def _write_readme(about: dict[str, Any]) -> list[str]:
    """Returns the lines of a README for people who have only this folder."""
    source, starter = about['source'], about['starter']
    config = about['network']
    needs = 'onnxruntime' if about['format'] == ONNX else 'tensorflow'
    lines = [
        f'# {source["name"]}: {config["model"]}, stage {config["stage"]}',
        '',
        f'`{about["file"]}` answers with one of {", ".join(about["classes"])}. {PURPOSE}',
        '',
        f'    pip install {needs} numpy pillow',
        f'    python {EXAMPLE_FILE} ITEM [ITEM ...]',
        '',
        f'`{EXAMPLE_FILE}` tells what an item is. `{CARD_FILE}` has all facts for programs. Read {RESPONSIBLE_USE}.',
        '',
        '| input or output | type | shape | values |',
        '|---|---|---|---|',
        *(
            f'| `{name}` | {facts["type"]} | [{", ".join(map(str, facts["shape"]))}] | {facts["values"]} |'
            for name, facts in (about['inputs'] | about['outputs']).items()
        ),
        '',
        'The network scales pixels and features itself. Give them as they are.',
        f'{explain_temperature(Calibration(**about["calibration"])).capitalize()}.',
    ]
    for scores in about['scores']:
        lines.append(f'On {scores["split"]}: {scores["correct"]}/{scores["total"]} = {scores["accuracy"]:.1%} right.')
    if starter:
        lines += ['', f'{starter["summary"]}.', f'Terms: {starter["notice"]}, here `{LICENCE_FILE}`.']
        lines += ['', 'Not for:', '', *(f'- {use}' for use in starter['not_for'])]
    else:
        lines += [
            '',
            'The terms of the training data, and of weights that the run started from, hold for the network.',
            '',
        ]
        lines += [f'- {line}' for line in source['restored']]
    return lines
