# SPDX-License-Identifier: Apache-2.0
"""Finds the numbers of right answers that a printed accuracy can come from.

An accuracy over N videos is k / N. Printed with one or two decimals, it fits few k, often one or none. If none fits,
the accuracy is misprinted, or it is of another number of videos.
"""

import math
import re
from collections.abc import Callable
from fractions import Fraction

# Ways to cut a number to whole units. They differ only in exact halves and below them.
ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    'half up': lambda value: math.floor(value + Fraction(1, 2)),
    'half to even': round,
    'truncated': math.floor,
}
_PRINTED = re.compile(r'\d{1,3}(\.\d{1,6})?')


def possible_counts(printed: str, total: int) -> dict[int, tuple[str, ...]]:
    """Returns each number of right answers that a printed accuracy can be, with the roundings that print it so.

    The arithmetic is exact. The number of decimals counts: `46` fits more numbers than `46.0`.

    Args:
      printed: percent, as printed, such as `55.13`.
      total: number of videos, at least 1.

    Returns:
      Keys of ROUNDINGS by the number, in ascending order. Empty if no number gives the accuracy.

    Raises:
      ValueError: `printed` is not a number in [0, 100] in digits.
    """
    scale, units = _parse(printed)
    first, last = (units - 1) * total // scale, (units + 1) * total // scale + 1  # a unit to either side
    found = {}
    for count in range(max(first, 0), min(last, total) + 1):
        exact = Fraction(count * scale, total)
        if names := tuple(name for name, cut in ROUNDINGS.items() if cut(exact) == units):
            found[count] = names
    return found


def nearest_count(printed: str, total: int) -> int:
    """Returns the number of right answers whose accuracy is nearest to a printed one."""
    scale, units = _parse(printed)
    return min(total, round(Fraction(units * total, scale)))


def _parse(printed: str) -> tuple[int, int]:
    """Returns how many units 100% has in the last printed digit, and the number of units. `46.0` is 460 of 1000."""
    if not _PRINTED.fullmatch(printed) or float(printed) > 100:
        raise ValueError(f'{printed}: expected percent in digits, from 0 to 100, such as 55.13')
    whole, _, decimals = printed.partition('.')
    return 100 * 10 ** len(decimals), int(whole + decimals)
