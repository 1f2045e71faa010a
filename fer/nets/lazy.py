# SPDX-License-Identifier: Apache-2.0
"""Attributes of fer.nets that are imported on first use.

TensorFlow takes seconds to import, and `python -m fer.nets --help` imports the package.
"""

from typing import Any


def registry_attribute(name: str) -> Any:
    """Returns an attribute of fer/nets/registry.py, or raises AttributeError as a module does."""
    if name not in ('NETWORKS', 'Network', 'default_initialiser', 'get_network'):
        raise AttributeError(f"module 'fer.nets' has no attribute {name!r}")
    from fer.nets import registry

    return getattr(registry, name)
