# SPDX-License-Identifier: Apache-2.0
"""Saves a keras.applications network with random weights: python keras_oracle.py NASNetMobile 64 FOLDER

It runs in a process of its own, because fer turns eager execution off. It writes weights.h5, order.weights.h5,
whole.h5 and oracle.npz. The last has images [2, size, size, 3] in [-1, 1], and the features and logits that Keras'
preprocessing and network compute for them.
"""

import os
import sys
from pathlib import Path

import numpy as np

os.environ['TF_USE_LEGACY_KERAS'] = '1'  # Keras 3 has other names of layers and other files
import tensorflow as tf

MODULES = {
    'VGG16': 'vgg16',
    'ResNet50': 'resnet',
    'DenseNet121': 'densenet',
    'NASNetLarge': 'nasnet',
    'NASNetMobile': 'nasnet',
}


def random_value(rng, name, shape):
    kind = name.rpartition('/')[2]
    if kind.startswith(('gamma', 'moving_variance')):
        return rng.uniform(0.5, 1.5, shape)
    if kind.startswith(('beta', 'moving_mean', 'bias')):
        return rng.normal(0, 0.1, shape)
    fan_in = np.prod(shape[:2]) if kind.startswith('depthwise') else np.prod(shape[:-1])
    return rng.normal(0, np.sqrt(2 / fan_in), shape)


def main(name, size, folder):
    module = getattr(tf.keras.applications, MODULES[name])
    model = getattr(tf.keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=5, classifier_activation=None
    )
    rng = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([random_value(rng, v.name, v.shape) for v in layer.weights])
    model.save_weights(folder / 'weights.h5')
    model.save_weights(folder / 'order.weights.h5')
    if name == 'VGG16':
        model.save(folder / 'whole.h5')
    images = rng.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    last = model.get_layer('fc1') if name == 'VGG16' else model.layers[-2]
    features = tf.keras.Model(model.input, last.output)
    pixels = module.preprocess_input((images + 1) * 127.5)
    np.savez(folder / 'oracle.npz', images=images, features=features(pixels), logits=model(pixels))


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
