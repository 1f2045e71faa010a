# SPDX-License-Identifier: Apache-2.0
"""Registry of the networks that `--model` names."""

from collections.abc import Callable
from typing import NamedTuple

from fer.errors import InputError
from fer.nets import densenet, nasnet, resnet, se_resnet
from fer.nets.conventions import Convention
from fer.nets.vgg_face import vgg_face


class Network(NamedTuple):
    """One network as the stages use it.

    `build(images, num_classes, is_training, width, dropout, global_pool, convention)` takes float32 [N, H, W, 3] in
    [-1, 1]. It returns `features` [N, D], the RNN's input, and `end_points`, a dict of named layers with `last_map`
    [N, H', W', C], the last one before a pool or a dense layer, and `logits` [N, num_classes]. The features
    are the classifier's input, except VGG-Face's, which are fc6. As in slim, `num_classes=0` builds no classifier: no
    `logits`, and no layer or variable after the features.
    """

    build: Callable
    convention: Convention  # the convention that `build` uses by default
    phase_one: tuple[str, ...]  # scopes that two-phase training trains first (dissertation 6.2: its dense layers)
    min_image_size: int  # smallest height and width, in pixels
    global_pool: tuple[bool, ...]  # allowed values. The first is the default: the better one in the dissertation's 6.1
    # The layer on the last map, which has an input for each value of a flat map, and a variable with a value for each
    # channel of the map. Both names are below the network's scope.
    on_last_map: tuple[str, str] | None = None
    grouped: bool = False  # True if it has convolutions in groups
    batch_norm: bool = True  # False if it has no batch normalisation
    residual: bool = False  # True if it has residual branches
    has_stem: bool = False  # True if `build` takes `stem_stride`


_RESIDUAL_MAP = ('logits', 'block4/unit_3/conv3/BatchNorm/beta')
_BASIC_MAP = ('logits', 'block4/unit_2/conv2/BatchNorm/beta')

NETWORKS = {
    'vgg_face': Network(
        build=vgg_face,
        convention=Convention(),
        # SE blocks are among the new layers, because no published VGG-Face has them.
        phase_one=('vgg_face/fc6', 'vgg_face/fc7', 'vgg_face/fc8', 'vgg_face/se'),
        min_image_size=32,
        global_pool=(False, True),
        on_last_map=('fc6', 'conv5/conv5_3/biases'),
        batch_norm=False,  # it has dropout
    ),
    'resnet50': Network(
        build=resnet.resnet50,
        convention=resnet.SLIM,
        phase_one=('resnet50/logits',),
        min_image_size=32,
        global_pool=(False, True),
        on_last_map=_RESIDUAL_MAP,
        residual=True,
        has_stem=True,
    ),
    'resnet18': Network(
        build=resnet.resnet18,
        convention=resnet.TORCH,
        phase_one=('resnet18/logits',),
        min_image_size=32,
        global_pool=(True, False),
        on_last_map=_BASIC_MAP,
        residual=True,
        has_stem=True,
    ),
    'densenet121': Network(
        build=densenet.densenet121,
        convention=densenet.TORCH,
        phase_one=('densenet121/logits',),
        min_image_size=32,
        global_pool=(True, False),
        on_last_map=('logits', 'norm5/beta'),
        has_stem=True,
    ),
    'se_resnet50': Network(
        build=se_resnet.se_resnet50,
        convention=se_resnet.CAFFE,
        phase_one=('se_resnet50/logits',),
        min_image_size=32,
        global_pool=(False, True),
        on_last_map=_RESIDUAL_MAP,
        residual=True,
        has_stem=True,
    ),
    'se_resnext50': Network(
        build=se_resnet.se_resnext50,
        convention=se_resnet.CAFFE_NEXT,
        phase_one=('se_resnext50/logits',),
        min_image_size=32,
        global_pool=(True, False),
        on_last_map=_RESIDUAL_MAP,
        residual=True,
        has_stem=True,
        grouped=True,
    ),
    'nasnet': Network(
        build=nasnet.nasnet,
        convention=nasnet.SLIM,
        phase_one=('nasnet/logits',),
        min_image_size=32,
        global_pool=(True,),
    ),
    'nasnet_mobile': Network(
        build=nasnet.nasnet_mobile,
        convention=nasnet.SLIM,
        phase_one=('nasnet_mobile/logits',),
        min_image_size=32,
        global_pool=(True,),
    ),
}


def default_initialiser(model: str) -> str:
    """Returns the value of --initialiser with which a network learned fastest (docs/performance.md)."""
    return 'zero_gamma' if model in NETWORKS and NETWORKS[model].residual else 'fan_out'


def get_network(name: str) -> Network:
    """Returns the network of a name, or raises InputError if the name is unknown."""
    if name not in NETWORKS:
        raise InputError(f'--model={name}: unknown network; expected one of {", ".join(NETWORKS)}')
    return NETWORKS[name]
