"""Networks, slim style, and the registry that `--model` names (registry.py), which is loaded when it is first used.

Importing TensorFlow takes seconds, and `python -m fer.nets --help` imports this.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer.nets.registry import NETWORKS, Network, get_network

__all__ = ['NETWORKS', 'Network', 'get_network']


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from fer.nets import registry

    return getattr(registry, name)
