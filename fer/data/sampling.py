# SPDX-License-Identifier: Apache-2.0
"""The windows of an epoch: which, how often, in which order, and which of them are augmented.

Dissertation 2.3 names imbalance as a problem: data augmentation "can be used to increase the amount of data for these
lesser categories". `balanced` sampling does that with copies of windows, and `added` augments just the copies.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fer.data.split import UNLABELLED, Split
from fer.emotions import EMOTIONS
from fer.wording import Words

SAMPLINGS = ('all', 'balanced')
AUGMENTED = ('all', 'rarer', 'added')

POOL = 64  # batches, about, that windows are dealt among. The spread between pools remains: 1 / sqrt(64) of the whole
_DRAW = 1  # makes the random numbers of a draw independent of those of its order


class Draws(NamedTuple):
    """The M windows of an epoch, or of a part of it, in their order."""

    windows: np.ndarray  # int [M], index of each in `Split.windows`
    copies: np.ndarray  # int [M], how often the epoch had the window before: 0, or more if it comes again
    augmented: np.ndarray  # bool [M]


@dataclass(frozen=True)
class Sampler:
    """Draws the windows of each epoch.

    `all` has each window once. `balanced` has as many windows of each class as the class with the most of them. So
    each window comes at least once, and windows of a class differ by at most one in how often they come. A class
    without windows stays without.
    """

    labels: np.ndarray  # int [W], class of each window of the split, UNLABELLED without labels
    lengths: np.ndarray  # int [W], frames of each window
    sampling: str  # of SAMPLINGS
    augmented: str  # of AUGMENTED: every window, those of rarer classes, or those that come again

    @property
    def size(self) -> int:
        """Returns M, the windows of an epoch."""
        if self.sampling == 'all':
            return len(self.labels)
        counts = self._counts()
        return int(counts.max() * np.count_nonzero(counts))

    def draw(self, seed: int | None, epoch: int, bucket: int = 0) -> Draws:
        """Returns the windows of an epoch, in their order.

        Args:
          seed: None keeps the windows' order. Otherwise the draw follows from (seed, epoch) alone.
          epoch: from 0.
          bucket: the size of batches that get about the same number of frames each, or 0 for a free order.
        """
        times = self._times(seed or 0, epoch)
        windows = np.repeat(np.arange(len(times)), times)
        copies = np.arange(len(windows)) - np.repeat(np.cumsum(times) - times, times)
        if seed is None:
            order = np.arange(len(windows))
        elif bucket:
            order = even_order(self.lengths[windows], bucket, seed, epoch)
        else:
            order = np.random.default_rng([seed, epoch]).permutation(len(windows))
        windows, copies = windows[order], copies[order]
        return Draws(windows, copies, self._is_augmented(windows, copies))

    def most_frames(self, batch_size: int) -> int:
        """Returns a number of frames that no batch of any epoch exceeds."""
        most = self.lengths
        if self.sampling == 'balanced':
            counts = self._counts()
            most = np.repeat(self.lengths, -(-counts.max() // counts[self.labels]))
        return int(np.sort(most)[-batch_size:].sum())

    def describe(self, words: Words) -> list[str]:
        """Returns lines about an epoch, for the screen, or an empty list if both settings are `all`."""
        noun, lines, counts = 'windows' if words.lines else words.items, [], self._counts()
        if self.sampling == 'balanced':
            there = counts > 0
            frames = np.bincount(self.labels, self.lengths, len(EMOTIONS))[there]  # of each class
            on_average = f'{sum(counts.max() * frames / counts[there]):.0f} {words.lines} on average'
            lines.append(
                f'sampling: an epoch has {counts.max()} {noun} of each of {np.count_nonzero(there)} classes. These are '
                f'{self.size} {noun}, not {len(self.labels)}'
                + (f', and {on_average}, not {self.lengths.sum()}' if words.lines else '')
            )
        if self.augmented == 'added':
            lines.append(f'augmentation: of the {self.size - len(self.labels)} {noun} that sampling adds')
        if self.augmented == 'rarer':
            rarer = self._rarer()
            number = counts.max() * rarer.sum() if self.sampling == 'balanced' else counts[rarer].sum()
            names = ', '.join(EMOTIONS[label] for label in np.flatnonzero(rarer))
            lines.append(f'augmentation: of the {number} {noun} of {names or "no class"}')
        return lines

    def _counts(self) -> np.ndarray:
        """Returns int [7], the windows of each class."""
        return np.bincount(self.labels, minlength=len(EMOTIONS))

    def _rarer(self) -> np.ndarray:
        """Returns bool [7], the classes with fewer windows than classes have on average."""
        counts = self._counts()
        return (counts > 0) & (counts < counts[counts > 0].mean())

    def _times(self, seed: int, epoch: int) -> np.ndarray:
        """Returns int [W], how often each window comes in an epoch."""
        times = np.ones(len(self.labels), int)
        if self.sampling == 'balanced':
            rng = np.random.default_rng([seed, epoch, _DRAW])
            most = self._counts().max()
            for label in np.unique(self.labels):
                own = rng.permutation(np.flatnonzero(self.labels == label))
                times[own], rest = divmod(most, len(own))
                times[own[:rest]] += 1
        return times

    def _is_augmented(self, windows: np.ndarray, copies: np.ndarray) -> np.ndarray:
        if self.augmented == 'added':
            return copies > 0
        if self.augmented == 'rarer':
            return self._rarer()[self.labels[windows]]
        return np.ones(len(windows), bool)


def make_sampler(split: Split, sampling: str = 'all', augmented: str = 'all') -> Sampler:
    """Returns the sampler of a split. Values other than `all` need labels."""
    labels = (split.videos[window.video].label for window in split.windows)
    return Sampler(
        np.array([UNLABELLED if label is None else label for label in labels], int),
        np.array([window.length for window in split.windows], int),
        sampling,
        augmented,
    )


def even_order(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Returns a shuffled order of windows whose batches have about the same number of frames each.

    Windows are shuffled and cut into pools of about `POOL` batches. Within a pool they are dealt in rounds, longest
    first. Each round gives every batch one window, the longest to the batch with the fewest frames so far. So long
    windows meet short ones. (Batches of equal lengths would differ in their sums as much as windows do.) Then a pool's
    batches are shuffled. The windows that fill no whole batch are the last batch, as in a free order.

    Each window is still in one batch an epoch. The windows that it meets are random, but not uniformly so: two very
    long windows seldom meet. The sum of an epoch's gradients at given weights does not change for a loss averaged over
    windows. One averaged over a batch's frames (--classify=frame) weighs all frames of an epoch more evenly.

    Args:
      lengths: int [W], frames of each window.
      batch_size: B, windows a batch.
      seed: of the run.
      epoch: the order follows from (seed, epoch) alone.

    Returns:
      int [W], a permutation. Batch b is `order[b * B : (b + 1) * B]`.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    whole = len(order) - len(order) % batch_size
    parts = []
    pools = max(1, round(whole / batch_size / POOL))
    for numbers in np.array_split(np.arange(whole // batch_size), pools):  # pools of equal size, give or take a batch
        pool = order[:whole].reshape(-1, batch_size)[numbers].ravel()
        rounds = pool[np.argsort(-lengths[pool], kind='stable')].reshape(batch_size, -1)  # [B, batches]
        batches = np.zeros(rounds.shape[::-1], order.dtype)  # [batches, B]
        frames = np.zeros(len(batches), np.int64)
        for number, dealt in enumerate(rounds):
            takers = np.argsort(frames, kind='stable')
            batches[takers, number] = dealt
            frames[takers] += lengths[dealt]
        parts.append(rng.permutation(batches).ravel())
    return np.concatenate([*parts, order[whole:]])
