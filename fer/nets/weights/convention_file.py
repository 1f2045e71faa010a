# SPDX-License-Identifier: Apache-2.0
"""The file in which a run keeps its network's convention: convention.json beside its checkpoints."""

import json
from pathlib import Path

from fer.errors import InputError
from fer.files import atomic_write, read_object
from fer.nets import NETWORKS
from fer.nets.conventions import Convention, check_convention
from fer.runs.names import CONVENTION_FILE


def write_convention(folder: Path, network: str, convention: Convention, weights: str) -> None:
    """Writes the file.

    Args:
      folder: the run folder.
      network: a name of NETWORKS.
      convention: the convention that the network's graph is built from.
      weights: a note for readers, the source of the initial weights.
    """
    with atomic_write(folder / CONVENTION_FILE) as file:
        json.dump({'network': network, **convention._asdict(), 'weights': weights}, file, indent=1)


def read_convention(folder: str | Path) -> tuple[str, Convention] | None:
    """Returns the network's name and its convention, None if the file is missing.

    Raises:
      InputError: the file is damaged.
    """
    path = Path(folder) / CONVENTION_FILE
    if not path.exists():
        return None
    try:
        values = read_object(path)
        network = NETWORKS[values['network']] and values['network']
        fields = {name: values[name] for name in Convention._fields if name != 'grey'}
        fields['grey'] = values.get('grey', False)  # earlier runs do not have it
        fields |= {name: tuple(float(part) for part in fields[name]) for name in ('mean', 'std')}
        convention = Convention(**fields)
        check_convention(convention)
        if not isinstance(convention.grey, bool):
            raise ValueError(f'grey is {convention.grey!r}')
        if (len(convention.mean), len(convention.std)) != (3, 3) or not all(convention.std) or convention.epsilon <= 0:
            raise ValueError('mean and std have three numbers each, std has no 0, and epsilon is above 0')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path}: {error}; expected the convention that train.py wrote') from None
    return network, convention
