# SPDX-License-Identifier: Apache-2.0
"""One module for each dataset. It finds the items in the dataset's folder and writes nothing."""

from fer.prepare.datasets.registry import DATASETS, Options

__all__ = ['DATASETS', 'Options']
