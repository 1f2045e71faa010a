"""Networks, slim style, and the registry that `--model` names."""

from collections.abc import Callable
from typing import NamedTuple

from fer.errors import InputError
from fer.nets.vgg_face import vgg_face


class Network(NamedTuple):
    """One network as the stages use it.

    `build(images, num_classes, is_training, width, dropout)` takes float32 [N, H, W, 3] in [-1, 1] and returns
    `features` [N, D], the RNN's input, and `end_points`, a dict of named layers with `logits` [N, num_classes].
    """

    build: Callable
    phase_one: tuple[str, ...]  # scopes that two-phase training trains first (dissertation 6.2: its dense layers)
    min_image_size: int


NETWORKS = {
    'vgg_face': Network(vgg_face, ('vgg_face/fc6', 'vgg_face/fc7', 'vgg_face/fc8'), min_image_size=32),
}


def get_network(name: str) -> Network:
    """Raises InputError for a name that `NETWORKS` lacks."""
    if name not in NETWORKS:
        raise InputError(f'--model={name}: unknown network; expected one of {", ".join(NETWORKS)}')
    return NETWORKS[name]
