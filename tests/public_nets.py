# SPDX-License-Identifier: Apache-2.0
"""Small random networks under the names of their publishers, and their features, computed without fer.

A network is a dict of layers in one neutral form: kernels are [height, width, in, out], batch normalisation is gamma,
beta, mean, variance. `residual`, `dense` and `vgg` run it under stated conventions. The writers give it public names.
"""

import numpy as np
from nets import one_shot_session

from fer.tf1 import tf

RESIDUAL_UNITS = (3, 4, 6, 3)
BASIC_UNITS = (2, 2, 2, 2)
DENSE_LAYERS = (6, 12, 24, 16)
VGG_CONVOLUTIONS = (2, 2, 3, 3, 3)
CLASSES = 5


def _kernel(rng, *shape):
    return rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype(np.float32)


def _norm(rng, channels):
    values = (rng.uniform(0.5, 1.5, channels), *rng.normal(0, 0.1, (2, channels)), rng.uniform(0.5, 1.5, channels))
    return [value.astype(np.float32) for value in values]


def _biases(rng, channels):
    return rng.normal(0, 0.1, channels).astype(np.float32)


def random_residual(inner, outer, stem, groups=1, squeeze_excite=False, seed=0):
    """Returns {(block, unit, part): arrays} for the parts conv1, norm1 ... shortcut, shortcut_norm, reduce, excite."""
    rng = np.random.default_rng(seed)
    net = {'conv': _kernel(rng, 7, 7, 3, stem), 'norm': _norm(rng, stem)}
    channels = stem
    for block, units in enumerate(RESIDUAL_UNITS, start=1):
        low, high = inner[block - 1], outer[block - 1]
        for unit in range(1, units + 1):
            shapes = {1: (1, 1, channels, low), 2: (3, 3, low // groups, low), 3: (1, 1, low, high)}
            for part, shape in shapes.items():
                net[block, unit, f'conv{part}'] = _kernel(rng, *shape)
                net[block, unit, f'norm{part}'] = _norm(rng, shape[-1])
            if unit == 1:
                net[block, unit, 'shortcut'] = _kernel(rng, 1, 1, channels, high)
                net[block, unit, 'shortcut_norm'] = _norm(rng, high)
            if squeeze_excite:
                few = max(1, high // 16)
                net[block, unit, 'reduce'] = (_kernel(rng, high, few), _biases(rng, few))
                net[block, unit, 'excite'] = (_kernel(rng, few, high), _biases(rng, high))
            channels = high
    net['classifier'] = (_kernel(rng, channels, CLASSES), _biases(rng, CLASSES))
    return net


def random_basic(channels, seed=0):
    """Returns the parts of a ResNet-18 as `random_residual` does. The stem has the channels of the first stage."""
    rng = np.random.default_rng(seed)
    before = channels[0]
    net = {'conv': _kernel(rng, 7, 7, 3, before), 'norm': _norm(rng, before)}
    for block, units in enumerate(BASIC_UNITS, start=1):
        here = channels[block - 1]
        for unit in range(1, units + 1):
            for part, inputs in ((1, before), (2, here)):
                net[block, unit, f'conv{part}'] = _kernel(rng, 3, 3, inputs, here)
                net[block, unit, f'norm{part}'] = _norm(rng, here)
            if before != here:
                net[block, unit, 'shortcut'] = _kernel(rng, 1, 1, before, here)
                net[block, unit, 'shortcut_norm'] = _norm(rng, here)
            before = here
    net['classifier'] = (_kernel(rng, before, CLASSES), _biases(rng, CLASSES))
    return net


def random_dense(growth, stem, seed=0):
    """Returns {(block, layer, part): arrays}. Transitions are (block, 'transition', part)."""
    rng = np.random.default_rng(seed)
    net = {'conv': _kernel(rng, 7, 7, 3, stem), 'norm': _norm(rng, stem)}
    channels = stem
    for block, layers in enumerate(DENSE_LAYERS, start=1):
        for layer in range(1, layers + 1):
            net[block, layer, 'norm1'] = _norm(rng, channels)
            net[block, layer, 'conv1'] = _kernel(rng, 1, 1, channels, 4 * growth)
            net[block, layer, 'norm2'] = _norm(rng, 4 * growth)
            net[block, layer, 'conv2'] = _kernel(rng, 3, 3, 4 * growth, growth)
            channels += growth
        if block < 4:
            net[block, 'transition', 'norm'] = _norm(rng, channels)
            net[block, 'transition', 'conv'] = _kernel(rng, 1, 1, channels, channels // 2)
            channels //= 2
    net['last_norm'] = _norm(rng, channels)
    net['classifier'] = (_kernel(rng, channels, CLASSES), _biases(rng, CLASSES))
    return net


def random_vgg(channels, units, map_size, seed=0):
    """Returns {(block, layer): (kernel, biases)}, and fc6, fc7, fc8 as [in, out], fc6 by row, column, channel."""
    rng = np.random.default_rng(seed)
    net, inputs = {}, 3
    for block, convolutions in enumerate(VGG_CONVOLUTIONS, start=1):
        for layer in range(1, convolutions + 1):
            out = channels[block - 1]
            net[block, layer] = (_kernel(rng, 3, 3, inputs, out), _biases(rng, out))
            inputs = out
    for name, size, out in (
        ('fc6', map_size**2 * inputs, units),
        ('fc7', units, units),
        ('fc8', units, CLASSES),
    ):
        net[name] = (_kernel(rng, size, out), _biases(rng, out))
    return net


def _conv(x, kernel, stride=1, pad=0, groups=1):
    """Builds PyTorch's and Caffe's convolution, with `pad` zeros on each side. Groups are split and joined."""
    x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    parts = [
        tf.nn.conv2d(part, weights, strides=stride, padding='VALID')
        for part, weights in zip(tf.split(x, groups, 3), np.split(kernel, groups, 3), strict=True)
    ]
    return tf.concat(parts, 3)


def _normalised(x, norm, epsilon):
    gamma, beta, mean, variance = norm
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def _stem_pool(x, padded):
    """Builds a 3x3 pool of stride 2 on a square map, padded by one `around`, `after`, or as TensorFlow's `same`."""
    before, after = {'around': 1, 'same': int(x.shape[1]) % 2, 'after': 0}[padded], 1
    lowest = tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]], constant_values=-1e9)
    return tf.nn.max_pool2d(lowest, 3, 2, 'VALID')


def residual(net, x, stride_in, padded_pool, epsilon, groups=1):
    """Returns float32 [N, C], the features of a residual network.

    `stride_in` is conv1 or conv2 of a stage's first unit. `padded_pool` is `around`, `after` or `same`.
    """
    x = tf.nn.relu(_normalised(_conv(x, net['conv'], 2, 3), net['norm'], epsilon))
    x = _stem_pool(x, padded_pool)
    for block, units in enumerate(RESIDUAL_UNITS, start=1):
        for unit in range(1, units + 1):
            stride = 2 if unit == 1 and block > 1 else 1
            strides = {1: stride if stride_in == 'conv1' else 1, 2: stride if stride_in == 'conv2' else 1, 3: 1}
            y = x
            for part, s in strides.items():
                size = {'pad': 1, 'groups': groups} if part == 2 else {}
                y = _normalised(
                    _conv(y, net[block, unit, f'conv{part}'], s, **size), net[block, unit, f'norm{part}'], epsilon
                )
                y = tf.nn.relu(y) if part < 3 else y
            if (block, unit, 'reduce') in net:
                (w1, b1), (w2, b2) = net[block, unit, 'reduce'], net[block, unit, 'excite']
                gate = tf.nn.sigmoid(tf.nn.relu(tf.reduce_mean(y, [1, 2]) @ w1 + b1) @ w2 + b2)
                y = y * gate[:, None, None]
            if (block, unit, 'shortcut') in net:
                x = _normalised(
                    _conv(x, net[block, unit, 'shortcut'], stride), net[block, unit, 'shortcut_norm'], epsilon
                )
            x = tf.nn.relu(x + y)
    return tf.reduce_mean(x, [1, 2])


def basic(net, x, epsilon):
    """Returns float32 [N, C], the features of a ResNet-18."""
    x = _stem_pool(tf.nn.relu(_normalised(_conv(x, net['conv'], 2, 3), net['norm'], epsilon)), 'around')
    for block, units in enumerate(BASIC_UNITS, start=1):
        for unit in range(1, units + 1):
            stride = 2 if unit == 1 and block > 1 else 1
            y = _normalised(_conv(x, net[block, unit, 'conv1'], stride, 1), net[block, unit, 'norm1'], epsilon)
            y = _normalised(_conv(tf.nn.relu(y), net[block, unit, 'conv2'], 1, 1), net[block, unit, 'norm2'], epsilon)
            if (block, unit, 'shortcut') in net:
                norm = net[block, unit, 'shortcut_norm']
                x = _normalised(_conv(x, net[block, unit, 'shortcut'], stride), norm, epsilon)
            x = tf.nn.relu(x + y)
    return tf.reduce_mean(x, [1, 2])


def dense(net, x, symmetric, epsilon):
    """Returns float32 [N, C], the features of a DenseNet. Its stem is padded on each side, or as TensorFlow's SAME."""
    if symmetric:
        x = _conv(x, net['conv'], 2, 3)
    else:
        x = tf.nn.conv2d(x, net['conv'], strides=2, padding='SAME')
    x = _stem_pool(tf.nn.relu(_normalised(x, net['norm'], epsilon)), padded='around' if symmetric else 'same')
    for block, layers in enumerate(DENSE_LAYERS, start=1):
        for layer in range(1, layers + 1):
            y = _conv(tf.nn.relu(_normalised(x, net[block, layer, 'norm1'], epsilon)), net[block, layer, 'conv1'])
            y = tf.nn.relu(_normalised(y, net[block, layer, 'norm2'], epsilon))
            x = tf.concat([x, _conv(y, net[block, layer, 'conv2'], pad=1)], 3)
        if block < 4:
            x = tf.nn.relu(_normalised(x, net[block, 'transition', 'norm'], epsilon))
            x = tf.nn.avg_pool2d(_conv(x, net[block, 'transition', 'conv']), 2, 2, 'VALID')
    return tf.reduce_mean(tf.nn.relu(_normalised(x, net['last_norm'], epsilon)), [1, 2])


def vgg(net, x, pool):
    """Returns float32 [N, units], fc6 after its ReLU."""
    for block, convolutions in enumerate(VGG_CONVOLUTIONS, start=1):
        for layer in range(1, convolutions + 1):
            kernel, biases = net[block, layer]
            x = tf.nn.relu(_conv(x, kernel, pad=1) + biases)
        x = tf.nn.max_pool2d(x, 2, 2, pool)
    weights, biases = net['fc6']
    return tf.nn.relu(tf.reshape(x, [-1, weights.shape[0]]) @ weights + biases)


def run(function, net, pixels, *arguments, **keywords):
    """Runs `residual`, `dense` or `vgg` on float32 [N, H, W, 3]."""
    with tf.Graph().as_default(), one_shot_session() as session:
        return session.run(function(net, tf.constant(pixels, tf.float32), *arguments, **keywords))


# The writers return {public name: array}.


def _torch_norm(name, norm):
    kinds = dict(zip(('weight', 'bias', 'running_mean', 'running_var'), norm, strict=True))
    return {f'{name}.{kind}': value for kind, value in kinds.items()} | {f'{name}.num_batches_tracked': np.array(7)}


def _oihw(kernel):
    return np.ascontiguousarray(np.einsum('hwio->oihw', kernel))


def torch_residual(net):
    """Returns the names of torchvision's resnet50 and resnet18, timm's seresnet50 and seresnext50_32x4d."""
    weights, biases = net['classifier']
    state = {'conv1.weight': _oihw(net['conv']), 'fc.weight': weights.T.copy(), 'fc.bias': biases}
    state |= _torch_norm('bn1', net['norm'])
    for (block, unit, part), value in _units(net):
        prefix = f'layer{block}.{unit - 1}'
        if part.startswith('conv'):
            state[f'{prefix}.{part}.weight'] = _oihw(value)
        elif part.startswith('norm'):
            state |= _torch_norm(f'{prefix}.bn{part[-1]}', value)
        elif part == 'shortcut':
            state[f'{prefix}.downsample.0.weight'] = _oihw(value)
        elif part == 'shortcut_norm':
            state |= _torch_norm(f'{prefix}.downsample.1', value)
        else:
            name = f'{prefix}.se.{"fc1" if part == "reduce" else "fc2"}'
            state |= {f'{name}.weight': _oihw(value[0][None, None]), f'{name}.bias': value[1]}
    return state


def legacy_residual(net):
    """Returns the names of timm's legacy networks, which are those of Cadene's pretrained-models.pytorch."""
    state = {}
    for name, array in torch_residual(net).items():
        first, _, rest = name.partition('.')
        if first in ('conv1', 'bn1'):
            first = f'layer0.{first}'
        elif first == 'fc':
            first = 'last_linear'
        state[f'{first}.{rest.replace("se.", "se_module.")}'] = array
    return state


def _units(net):
    return [(key, value) for key, value in net.items() if isinstance(key, tuple)]


def torch_dense(net, old_names):
    """Returns the names of torchvision's densenet121, with `old_names` those of its published file."""
    weights, biases = net['classifier']
    dot = '.' if old_names else ''
    state = {'classifier.weight': weights.T.copy(), 'classifier.bias': biases}
    state |= {'features.conv0.weight': _oihw(net['conv'])} | _torch_norm('features.norm0', net['norm'])
    state |= _torch_norm('features.norm5', net['last_norm'])
    for (block, layer, part), value in _units(net):
        if layer == 'transition':
            name = f'features.transition{block}.{part}'
        else:
            name = f'features.denseblock{block}.denselayer{layer}.{part[:-1]}{dot}{part[-1]}'
        state |= {f'{name}.weight': _oihw(value)} if part.startswith('conv') else _torch_norm(name, value)
    return state


def torch_vgg(net):
    """Returns the names of torchvision's vgg16, whose fc6 takes the map channel by channel."""
    state, channels = {}, net[5, 3][1].size
    indices = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    for index, (_, (kernel, biases)) in zip(indices, _units(net), strict=True):
        state |= {f'features.{index}.weight': _oihw(kernel), f'features.{index}.bias': biases}
    for index, name in ((0, 'fc6'), (3, 'fc7'), (6, 'fc8')):
        weights, biases = net[name]
        if name == 'fc6':
            side = round((weights.shape[0] / channels) ** 0.5)
            weights = np.einsum('hwco->chwo', weights.reshape(side, side, channels, -1)).reshape(weights.shape)
        state |= {f'classifier.{index}.weight': weights.T.copy(), f'classifier.{index}.bias': biases}
    return state


def _named_norm(name, norm):
    return {f'{name}/{k}': v for k, v in zip(('gamma', 'beta', 'moving_mean', 'moving_variance'), norm, strict=True)}


def hikapok(net):
    """Returns the names of HiKapok/TF-SENet."""
    names = {'conv1': '1x1_reduce', 'conv2': '3x3', 'conv3': '1x1_increase', 'shortcut': '1x1_proj'}
    names |= {'norm1': '1x1_reduce', 'norm2': '3x3', 'norm3': '1x1_increase', 'shortcut_norm': '1x1_proj'}
    names |= {'reduce': '1x1_down', 'excite': '1x1_up'}
    weights, biases = net['classifier']
    state = {'conv1/7x7_s2/kernel': net['conv'], 'dense/kernel': weights, 'dense/bias': biases}
    state |= _named_norm('conv1/7x7_s2/bn', net['norm']) | {'global_step': np.array(9, np.int64)}
    for (block, unit, part), value in _units(net):
        name = f'conv{block + 1}_{unit}_{names[part]}'
        if 'norm' in part:
            state |= _named_norm(f'{name}/bn', value)
        elif part in ('reduce', 'excite'):
            state |= {f'{name}/kernel': value[0][None, None], f'{name}/bias': value[1]}
        else:
            state[f'{name}/kernel'] = value
    return state


def pudae(net):
    """Returns the names of pudae/tensorflow-densenet."""
    weights, biases = net['classifier']
    state = {'densenet121/conv1/weights': net['conv'], 'global_step': np.array(9, np.int64)}
    state |= {'densenet121/logits/weights': weights[None, None], 'densenet121/logits/biases': biases}
    state |= _named_norm('densenet121/BatchNorm', net['norm'])
    state |= _named_norm('densenet121/final_block/BatchNorm', net['last_norm'])
    for (block, layer, part), value in _units(net):
        if layer == 'transition':
            name = f'densenet121/transition_block{block}/blk'
        else:
            name = f'densenet121/dense_block{block}/conv_block{layer}/x{part[-1]}'
        state |= {f'{name}/Conv/weights': value} if 'conv' in part else _named_norm(f'{name}/BatchNorm', value)
    return state


def affwild(net, recurrent):
    """Returns the names of dkollias/Aff-Wild-models. `recurrent` ends in linear_1 and a GRU."""
    state = {}
    for number, (_, (kernel, biases)) in enumerate(_units(net), start=1):
        state |= {f'conv_{number}/weights': kernel, f'conv_{number}/biases': biases}
    for name, theirs in (('fc6', 'linear_1'), ('fc7', 'linear2_1'), ('fc8', 'linear3_1')):
        if name == 'fc6' or not recurrent:
            state |= {f'{theirs}/weights': net[name][0], f'{theirs}/biases': net[name][1]}
    if recurrent:
        state['rnn_1/weights_rnn'] = np.ones((4, 2), np.float32)
    return state


def old_keras_residual(net, biases):
    """Returns {layer: arrays} of Keras' ResNet50 until 2019. Each convolution has biases, `biases` is their seed."""
    rng = np.random.default_rng(biases)

    def conv(kernel):
        return [kernel, _biases(rng, kernel.shape[-1])]

    layers = {'conv1': conv(net['conv']), 'bn_conv1': net['norm'], 'fc1000': list(net['classifier'])}
    branches = {'conv1': '2a', 'conv2': '2b', 'conv3': '2c', 'shortcut': '1'}
    branches |= {'norm1': '2a', 'norm2': '2b', 'norm3': '2c', 'shortcut_norm': '1'}
    for (block, unit, part), value in _units(net):
        name = f'{block + 1}{"abcdef"[unit - 1]}_branch{branches[part]}'
        if 'norm' in part:
            layers[f'bn{name}'] = value
        else:
            layers[f'res{name}'] = conv(value)
    return layers
