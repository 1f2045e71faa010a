# SPDX-License-Identifier: Apache-2.0
"""State dicts of torchvision and timm, as safetensors.

- torchvision: resnet50, resnet18, densenet121, vgg16. Names: torchvision/models/{resnet,densenet,vgg}.py. DenseNet's
  published file has the names from before 2018 (norm.1), which torchvision renames when it loads (norm1). Both are
  accepted. The vgg16 of the name IMAGENET1K_FEATURES has other pixels and a classifier of NaNs, so it is refused.
- timm: seresnet50, seresnext50_32x4d and their `legacy_` namesakes, which are Cadene's pretrained-models.pytorch.
  Names: timm/models/{resnet,senet}.py. timm trained its own networks from fresh weights. They stride in the 3x3. The
  legacy ones have the authors' weights, strides and pool.
"""

import re

import numpy as np

from fer.nets import resnet
from fer.nets.conventions import Convention
from fer.nets.se_resnet import CAFFE, CAFFE_NEXT, GROUPS
from fer.nets.vgg_face import BLOCKS as VGG_BLOCKS
from fer.nets.weights.source import (
    NORM,
    Source,
    Table,
    Take,
    chw_to_dense,
    dense_layers,
    groups_of,
    residual_units,
    to_hwio,
)
from fer.nets.weights.sources.keras import IMAGENET_MEAN, IMAGENET_STD
from fer.nets.weights.tensors import SAFETENSORS

_COUNTERS = r'.*\.num_batches_tracked'  # batch normalisation has them since PyTorch 0.4.1
_TORCH = Convention('symmetric', 'symmetric', 'first_3x3', 1e-5, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _conv(ours: str, theirs: str) -> Table:
    return {f'{ours}/weights': Take((f'{theirs}.weight',), to_hwio)}


def _norm(ours: str, theirs: str) -> Table:
    kinds = ('weight', 'bias', 'running_mean', 'running_var')
    return {f'{ours}/{mine}': Take((f'{theirs}.{kind}',)) for mine, kind in zip(NORM, kinds, strict=True)}


def _dense(ours: str, theirs: str) -> Table:
    return {f'{ours}/weights': Take((f'{theirs}.weight',), np.transpose), f'{ours}/biases': Take((f'{theirs}.bias',))}


def _gate(kernel: np.ndarray) -> np.ndarray:
    """Reshapes a 1x1 convolution, [out, in, 1, 1], to a dense layer, [in, out]."""
    return kernel.reshape(kernel.shape[:2]).T


def _resnet50(squeeze_excite: bool) -> Table:
    table = _conv('conv1', 'conv1') | _norm('conv1/BatchNorm', 'bn1')
    for block, unit in residual_units():
        ours, theirs = f'block{block}/unit_{unit}', f'layer{block}.{unit - 1}'
        for layer in (1, 2, 3):
            table |= _conv(f'{ours}/conv{layer}', f'{theirs}.conv{layer}')
            table |= _norm(f'{ours}/conv{layer}/BatchNorm', f'{theirs}.bn{layer}')
        if unit == 1:
            table |= _conv(f'{ours}/shortcut', f'{theirs}.downsample.0')
            table |= _norm(f'{ours}/shortcut/BatchNorm', f'{theirs}.downsample.1')
        for gate, name in (('reduce', 'fc1'), ('excite', 'fc2')) if squeeze_excite else ():
            table[f'{ours}/se/{gate}/weights'] = Take((f'{theirs}.se.{name}.weight',), _gate)
            table[f'{ours}/se/{gate}/biases'] = Take((f'{theirs}.se.{name}.bias',))
    return table | _dense('logits', 'fc')


def _resnet18() -> Table:
    table = _conv('conv1', 'conv1') | _norm('conv1/BatchNorm', 'bn1')
    for block, _ in enumerate(resnet.BLOCKS, start=1):
        for unit in range(1, resnet.BASIC_UNITS + 1):
            ours, theirs = f'block{block}/unit_{unit}', f'layer{block}.{unit - 1}'
            for layer in (1, 2):
                table |= _conv(f'{ours}/conv{layer}', f'{theirs}.conv{layer}')
                table |= _norm(f'{ours}/conv{layer}/BatchNorm', f'{theirs}.bn{layer}')
            if unit == 1 and block > 1:
                table |= _conv(f'{ours}/shortcut', f'{theirs}.downsample.0')
                table |= _norm(f'{ours}/shortcut/BatchNorm', f'{theirs}.downsample.1')
    return table | _dense('logits', 'fc')


def _densenet121() -> Table:
    table = _conv('conv1', 'features.conv0') | _norm('conv1/BatchNorm', 'features.norm0')
    for block, layer in dense_layers():
        ours, theirs = f'block{block}/layer{layer}', f'features.denseblock{block}.denselayer{layer}'
        for part in (1, 2):
            table |= _norm(f'{ours}/norm{part}', f'{theirs}.norm{part}')
            table |= _conv(f'{ours}/conv{part}', f'{theirs}.conv{part}')
    for block in (1, 2, 3):
        table |= _norm(f'transition{block}/norm', f'features.transition{block}.norm')
        table |= _conv(f'transition{block}/conv', f'features.transition{block}.conv')
    return table | _norm('norm5', 'features.norm5') | _dense('logits', 'classifier')


def _densenet_key(name: str, kind: str) -> str:
    return re.sub(r'(\.denselayer\d+\.(?:norm|conv))\.([12]\.)', r'\1\2', name)


def _vgg16() -> Table:
    table: Table = {}
    index = 0  # `features` numbers convolutions, their ReLUs and the pools
    for block, (convolutions, _) in enumerate(VGG_BLOCKS, start=1):
        for layer in range(1, convolutions + 1):
            last = f'features.{index}'
            table |= _conv(f'conv{block}/conv{block}_{layer}', last)
            table[f'conv{block}/conv{block}_{layer}/biases'] = Take((f'{last}.bias',))
            index += 2
        index += 1
    table |= _dense('fc6', 'classifier.0') | _dense('fc7', 'classifier.3') | _dense('fc8', 'classifier.6')
    table['fc6/weights'] = Take(('classifier.0.weight', f'{last}.bias'), chw_to_dense)
    return table


def _legacy(table: Table) -> Table:
    """Renames a table's tensors to the names of Cadene's SENet."""
    changes = ((r'^(conv1|bn1)\.', r'layer0.\1.'), (r'\.se\.', '.se_module.'), (r'^fc\.', 'last_linear.'))

    def rename(name: str) -> str:
        for theirs, legacy in changes:
            name = re.sub(theirs, legacy, name)
        return name

    return {ours: take._replace(names=tuple(rename(name) for name in take.names)) for ours, take in table.items()}


_SE = _resnet50(squeeze_excite=True)
_LEGACY = _legacy(_SE)

SOURCES = (
    Source('torchvision resnet50', 'resnet50', (SAFETENSORS,), _TORCH, 224, _resnet50(squeeze_excite=False), _COUNTERS),
    Source('torchvision resnet18', 'resnet18', (SAFETENSORS,), _TORCH, 224, _resnet18(), _COUNTERS),
    Source(
        'torchvision densenet121',
        'densenet121',
        (SAFETENSORS,),
        _TORCH,
        224,
        _densenet121(),
        _COUNTERS,
        key=_densenet_key,
    ),
    Source('torchvision vgg16', 'vgg_face', (SAFETENSORS,), _TORCH, 224, _vgg16(), absent=('fc6', 'fc7')),
    Source(
        'timm seresnet50',
        'se_resnet50',
        (SAFETENSORS,),
        _TORCH,
        224,
        _SE,
        _COUNTERS,
        holds=lambda shapes: groups_of(_SE, shapes, 0, 1) < GROUPS,
    ),
    Source(
        'timm seresnext50_32x4d',
        'se_resnext50',
        (SAFETENSORS,),
        _TORCH,
        224,
        _SE,
        _COUNTERS,
        holds=lambda shapes: groups_of(_SE, shapes, 0, 1) >= GROUPS,
    ),
    Source(
        'timm legacy_seresnet50',
        'se_resnet50',
        (SAFETENSORS,),
        CAFFE._replace(pool='after', mean=IMAGENET_MEAN, std=IMAGENET_STD),
        224,
        _LEGACY,
        _COUNTERS,
        holds=lambda shapes: groups_of(_LEGACY, shapes, 0, 1) < GROUPS,
    ),
    Source(
        'timm legacy_seresnext50_32x4d',
        'se_resnext50',
        (SAFETENSORS,),
        CAFFE_NEXT._replace(pool='after', mean=IMAGENET_MEAN, std=IMAGENET_STD),
        224,
        _LEGACY,
        _COUNTERS,
        holds=lambda shapes: groups_of(_LEGACY, shapes, 0, 1) >= GROUPS,
    ),
)
