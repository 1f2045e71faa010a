"""One module for each dataset. It finds what the dataset's folder holds and writes nothing."""

from fer.prepare.datasets.registry import DATASETS, Options

__all__ = ['DATASETS', 'Options']
