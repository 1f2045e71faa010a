# SPDX-License-Identifier: Apache-2.0
"""List of all sources of public weights that can be read."""

from fer.nets.weights.sources import affwild, hikapok, keras, pudae, slim, torch, vgg_face_mat

SOURCES = (
    *slim.SOURCES,
    *pudae.SOURCES,
    *hikapok.SOURCES,
    *affwild.SOURCES,
    *vgg_face_mat.SOURCES,
    *keras.SOURCES,
    *torch.SOURCES,
)
