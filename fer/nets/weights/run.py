"""What a run remembers of its network's convention, in convention.json beside its checkpoints."""

import inspect
import json
from pathlib import Path

from fer.errors import InputError
from fer.files import atomic_write, read_object
from fer.nets import NETWORKS, Network
from fer.nets.conventions import Convention, check_convention
from fer.runs.names import CONVENTION_FILE


def default_convention(network: Network) -> Convention:
    """The row that a network is built from when nobody says otherwise."""
    return inspect.signature(network.build).parameters['convention'].default


def write_convention(folder: Path, network: str, convention: Convention, weights: str) -> None:
    """Writes the file.

    Args:
      folder: of the run.
      network: its name, of NETWORKS.
      convention: what its graph is built from.
      weights: for the reader, where they began.
    """
    with atomic_write(folder / CONVENTION_FILE) as file:
        json.dump({'network': network, **convention._asdict(), 'weights': weights}, file, indent=1)


def read_convention(folder: str | Path) -> tuple[str, Convention] | None:
    """The network's name and its convention; None where there is no such file.

    Raises:
      InputError: the file is damaged.
    """
    path = Path(folder) / CONVENTION_FILE
    if not path.exists():
        return None
    try:
        values = read_object(path)
        network = NETWORKS[values['network']] and values['network']
        fields = {name: values[name] for name in Convention._fields}
        fields |= {name: tuple(float(part) for part in fields[name]) for name in ('mean', 'std')}
        convention = Convention(**fields)
        check_convention(convention)
        if (len(convention.mean), len(convention.std)) != (3, 3) or not all(convention.std) or convention.epsilon <= 0:
            raise ValueError('mean and std have three numbers each, none of std is 0, and epsilon is above 0')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path}: {error}; expected the convention that train.py wrote') from None
    return network, convention
