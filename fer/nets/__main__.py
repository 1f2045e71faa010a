"""What each network costs: python -m fer.nets

One row per network and image size, at the default --global_pool of train.py and seven classes.
"""

from fer import cli
from fer.emotions import NUM_CLASSES

SIZES = (112, 224)


def main() -> None:
    # Here, not above: TensorFlow takes seconds to import, and --help should not.
    from fer.nets import NETWORKS
    from fer.nets.summary import summarise

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
    print('parameters: trainable. multiply-adds and activations: per frame, one pass forward; activations: float32,')
    print('every value computed, which is near what a training step keeps.')


if __name__ == '__main__':
    cli.run(main)
