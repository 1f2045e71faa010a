# SPDX-License-Identifier: Apache-2.0
"""Networks in slim's style, and the registry that `--model` names."""

from typing import TYPE_CHECKING

from fer.nets.lazy import registry_attribute as __getattr__

if TYPE_CHECKING:
    from fer.nets.registry import NETWORKS, Network, default_initialiser, get_network

__all__ = ['NETWORKS', 'Network', '__getattr__', 'default_initialiser', 'get_network']
