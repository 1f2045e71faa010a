"""The registry of networks that `--model` names."""

from collections.abc import Callable
from typing import NamedTuple

from fer.errors import InputError
from fer.nets.densenet import densenet121
from fer.nets.nasnet import nasnet, nasnet_mobile
from fer.nets.resnet import resnet50
from fer.nets.se_resnet import se_resnet50, se_resnext50
from fer.nets.vgg_face import vgg_face


class Network(NamedTuple):
    """One network as the stages use it.

    `build(images, num_classes, is_training, width, dropout, global_pool, convention)` takes float32 [N, H, W, 3] in
    [-1, 1] and returns `features` [N, D], the RNN's input, and `end_points`, a dict of named layers with `logits`
    [N, num_classes]. Every network but VGG-Face, whose features are fc6, has the classifier's input as features.
    As in slim, `num_classes=0` builds no classifier: neither `logits` nor any layer or variable past the features.
    """

    build: Callable
    phase_one: tuple[str, ...]  # scopes that two-phase training trains first (dissertation 6.2: its dense layers)
    min_image_size: int
    global_pool: tuple[bool, ...]  # the values it takes; first the default, the better one in the dissertation's 6.1
    # The layer on the last map, whose inputs are as many as a flat map has values; and a variable with as many values
    # as the map has channels. Both below the network's scope.
    on_last_map: tuple[str, str] | None = None
    grouped: bool = False  # whether it has convolutions in groups


_RESIDUAL_MAP = ('logits', 'block4/unit_3/conv3/BatchNorm/beta')

NETWORKS = {
    'vgg_face': Network(
        vgg_face,
        # SE blocks count among the new layers: no published VGG-Face has them.
        ('vgg_face/fc6', 'vgg_face/fc7', 'vgg_face/fc8', 'vgg_face/se'),
        min_image_size=32,
        global_pool=(False, True),
        on_last_map=('fc6', 'conv5/conv5_3/biases'),
    ),
    'resnet50': Network(resnet50, ('resnet50/logits',), 32, (False, True), _RESIDUAL_MAP),
    'densenet121': Network(densenet121, ('densenet121/logits',), 32, (True, False), ('logits', 'norm5/beta')),
    'se_resnet50': Network(se_resnet50, ('se_resnet50/logits',), 32, (False, True), _RESIDUAL_MAP),
    'se_resnext50': Network(se_resnext50, ('se_resnext50/logits',), 32, (True, False), _RESIDUAL_MAP, grouped=True),
    'nasnet': Network(nasnet, ('nasnet/logits',), 32, global_pool=(True,)),
    'nasnet_mobile': Network(nasnet_mobile, ('nasnet_mobile/logits',), 32, global_pool=(True,)),
}


def get_network(name: str) -> Network:
    """Raises InputError for a name that `NETWORKS` lacks."""
    if name not in NETWORKS:
        raise InputError(f'--model={name}: unknown network; expected one of {", ".join(NETWORKS)}')
    return NETWORKS[name]
