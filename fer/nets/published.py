# SPDX-License-Identifier: Apache-2.0
"""Published sizes and costs of the networks, for comparison by `python -m fer.nets` and the tests.

All are for 1000 classes at the image size of the paper. Parameters are trainable parameters, multiply-adds are those of
one image.
"""

from typing import NamedTuple

from fer.nets.conventions import Convention
from fer.nets.resnet import SLIM


class Published(NamedTuple):
    """Published figures of one network, and their source."""

    parameters: int
    without_classifier: int
    multiply_adds: float
    image_size: int
    global_pool: bool
    source: str
    convention: Convention | None = None  # of the paper's network, None for our default


PUBLISHED = {
    'vgg_face': Published(
        138_357_544,
        134_260_544,
        15.47e9,
        224,
        False,
        'VGG-16: torchvision, num_params and _ops of vgg16; Keras, VGG16 up to fc2; Hu et al. 2018, table 2 (15.47)',
    ),
    # slim strides two convolutions before the paper's network, so it needs a tenth less work: 3.48 G.
    'resnet50': Published(
        25_557_032,
        23_508_032,
        3.86e9,
        224,
        True,
        "torchvision, num_params of resnet50; Hu et al. 2018, table 2 (3.86); the paper's strides, slim's need 3.48 G",
        SLIM._replace(stride='first_1x1'),
    ),
    'resnet18': Published(
        11_689_512,
        11_176_512,
        1.814e9,
        224,
        True,
        'torchvision, num_params and _ops of resnet18 (1.814)',
    ),
    'densenet121': Published(
        7_978_856,
        6_953_856,
        2.83e9,
        224,
        True,
        'torchvision, num_params and _ops of densenet121 (2.834); Keras, DenseNet121 without top, trainable',
    ),
    'se_resnet50': Published(
        28_088_024,
        26_039_024,
        3.87e9,
        224,
        True,
        'osmr/imgclsmob, seresnet50 (28,088,024); Hu et al. 2018, table 2 (3.87)',
    ),
    'se_resnext50': Published(
        27_559_896,
        25_510_896,
        4.25e9,
        224,
        True,
        'osmr/imgclsmob, seresnext50_32x4d (27,559,896); Hu et al. 2018, table 2 (4.25)',
    ),
    'nasnet': Published(
        88_753_150,
        84_720_150,
        23.8e9,
        331,
        True,
        'Keras, NASNetLarge, trainable, with and without top; Zoph et al. 2018, table 2 (88.9 M in all, 23.8 B)',
    ),
    'nasnet_mobile': Published(
        5_289_978,
        4_232_978,
        0.564e9,
        224,
        True,
        'Keras, NASNetMobile, trainable, with and without top; Zoph et al. 2018, table 3 (5.3 M, 564 M)',
    ),
}
