# SPDX-License-Identifier: Apache-2.0
"""Converts a graph to ONNX, and runs ONNX files."""

import importlib.util
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fer.errors import InputError
from fer.export.graph import ServedGraph
from fer.tf1 import tf

MODEL_FILE = 'model.onnx'
OPSET = 17
_PACKAGES = ('tf2onnx', 'onnx', 'onnxruntime')


def check_extra() -> None:
    """Raises InputError if a package of the extra `export` is missing."""
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"--format=onnx: {', '.join(missing)} not installed; run pip install -e '.[export]' in the checkout"
        )


def write_onnx(path: Path, session: tf.Session, served: ServedGraph, metadata: Mapping[str, str]) -> None:
    """Writes a graph with the values of its variables.

    Args:
      path: of the file.
      session: of the graph. Its loops are those of `fer.export.graph.old_loops`.
      served: inputs and outputs of the graph.
      metadata: texts that the file carries.
    """
    import onnx
    import tf2onnx

    logging.getLogger('tf2onnx').setLevel(logging.ERROR)
    names = {tensor.name: name for tensors in served for name, tensor in tensors.items()}
    frozen = tf.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), list(served.outputs))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # deprecations inside tf2onnx
        model, _ = tf2onnx.convert.from_graph_def(
            frozen,
            input_names=[tensor.name for tensor in served.inputs.values()],
            output_names=[tensor.name for tensor in served.outputs.values()],
            opset=OPSET,
            tensors_to_rename=names,
            custom_op_handlers={'SelectV2': (_keep_choice, [])},
        )
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _keep_choice(graph, node, name: str, arguments: list) -> None:
    """Turns tf.where into ONNX's Where, whose rules are the same.

    tf2onnx prefers condition * x + (1 - condition) * y, in which a NaN or an infinity that is not chosen gives NaN.
    """
    node.type = 'Where'


def run_onnx(path: Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the outputs of an ONNX file on a CPU, by their names."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))
