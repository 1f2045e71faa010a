# SPDX-License-Identifier: Apache-2.0
"""Writes a graph as TensorFlow's SavedModel, and runs it."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fer.export.graph import ServedGraph, open_cpu_session
from fer.tf1 import tf
from fer.training.disk_errors import tensorflow_writes

MODEL_FOLDER = 'saved_model'
METADATA_FILE = 'assets.extra/metadata.json'  # TensorFlow leaves this folder to the writers of models
_SIGNATURE = tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def write_saved_model(
    folder: Path, session: tf.Session, served: ServedGraph, metadata: Mapping[str, str], target: Path
) -> None:
    """Writes a graph with the values of its variables.

    Args:
      folder: to write, does not exist.
      session: of the graph.
      served: inputs and outputs of the graph.
      metadata: texts that the folder carries.
      target: the folder that errors name.
    """
    with tensorflow_writes(target):
        builder = tf.saved_model.Builder(str(folder))
        signature = tf.saved_model.predict_signature_def(*served)
        builder.add_meta_graph_and_variables(session, [tf.saved_model.tag_constants.SERVING], {_SIGNATURE: signature})
        builder.save()
    path = folder / METADATA_FILE
    path.parent.mkdir()
    path.write_text(json.dumps(metadata, indent=1), encoding='utf-8')


def run_saved_model(folder: Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the outputs of a SavedModel, by their names."""
    with tf.Graph().as_default(), open_cpu_session() as session:
        graph = tf.saved_model.loader.load(session, [tf.saved_model.tag_constants.SERVING], str(folder))
        signature = graph.signature_def[_SIGNATURE]
        outputs = {name: about.name for name, about in signature.outputs.items()}
        return session.run(outputs, {signature.inputs[name].name: value for name, value in feeds.items()})
