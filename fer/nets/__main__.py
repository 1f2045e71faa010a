# SPDX-License-Identifier: Apache-2.0
"""Prints the size and cost of each network: python -m fer.nets

The first table has a row per network and image size, for the default --global_pool of train.py and seven classes. The
second table compares the counts with published figures, for 1000 classes and the papers' image sizes.
"""

import functools

from fer import cli
from fer.emotions import NUM_CLASSES

SIZES = (112, 224)


def main() -> None:
    # Imported here, because TensorFlow takes seconds to import and --help does not need it.
    from fer.nets import NETWORKS
    from fer.nets.published import PUBLISHED
    from fer.nets.summary import summarise, summarise_published

    print('network        image  global_pool   parameters  w/o classifier  multiply-adds  features  activations')
    for name, network in NETWORKS.items():
        for size in SIZES:
            pool = network.global_pool[0]
            row = summarise(network, size, NUM_CLASSES, pool)
            print(
                f'{name:13}  {size:5}  {pool!s:11}  {row.parameters:11,}  {row.without_classifier:14,}  '
                f'{row.multiply_adds / 1e9:11.3f} G  {row.features:8,}  {row.activations / 1e6:8.1f} MB',
                flush=True,
            )
    print('parameters: trainable. multiply-adds and activations: per frame, one forward pass. activations: all values')
    print('computed, as float32, which is close to what a training step keeps.')
    print()
    print('network        image   parameters    published  w/o classifier    published  multiply-adds  published')
    for name, published in PUBLISHED.items():
        row = summarise_published(name)
        print(
            f'{name:13}  {published.image_size:5}  {row.parameters:11,}  {published.parameters:11,}  '
            f'{row.without_classifier:14,}  {published.without_classifier:11,}  {row.multiply_adds / 1e9:11.3f} G  '
            f'{published.multiply_adds / 1e9:7.3f} G ({row.multiply_adds / published.multiply_adds - 1:+.1%})',
            flush=True,
        )
    for name, published in PUBLISHED.items():
        print(f'{name:13}  {published.source}')


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
