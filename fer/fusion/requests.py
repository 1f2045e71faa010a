# SPDX-License-Identifier: Apache-2.0
"""Requests for a late fusion and for the search for an ensemble, with the checks that they share."""

from collections.abc import Sequence
from dataclasses import dataclass

from fer.errors import InputError
from fer.fusion.members import Members, check_same_models, read_members


@dataclass(frozen=True, kw_only=True)
class Request:
    """Results files, one per model, and where to write the answers.

    Attributes:
      weights_from: results files to make the weights from. They are of the same videos, in any order of videos. If
        `apply_to` is None, they are also the files that are fused.
      apply_to: results files of the videos to answer, of the same models in the same order.
      output: folder for results_<split>.txt, metrics_<split>.json, confusion_<split>.png and weights_<split>.csv. The
        split is that of the inputs, or `fused` if they differ. A path ending in .txt names the results file, and the
        other files go beside it.
      folds: number of folds of the cross-validation, at least 2. 0 leaves it out.
      repeats: repetitions of the cross-validation, each with other folds.
      seed: of the folds.
      submission: new folder for EmotiW's files, one per video. Empty for none.
    """

    weights_from: Sequence[str]
    apply_to: Sequence[str] | None = None
    output: str
    folds: int = 5
    repeats: int = 10
    seed: int = 0
    submission: str = ''

    def read(self, on_missing: str = 'error') -> tuple[Members, Members]:
        """Returns the members that weights are made from, and those that are fused. Both may be the same object.

        Args:
          on_missing: how to handle a video that some files do not have, one of `fer.fusion.members.ON_MISSING`.

        Raises:
          InputError: files are malformed, or disagree on videos, labels or models.
        """
        if self.apply_to is None:
            source = read_members(self.weights_from, '--results', on_missing)
            return source, source
        members = read_members(self.apply_to, '--apply_to', on_missing)
        source = read_members(self.weights_from, '--weights_from', on_missing)
        check_same_models(source.paths, members.paths)
        return source, members


@dataclass(frozen=True, kw_only=True)
class FusionRequest(Request):
    """A late fusion by one method.

    Attributes:
      method: a key of `fer.fusion.methods.METHODS`.
      accuracies: one per file, in [0, 1]. None takes those on the labels.
      on_missing: how to handle a video that some files do not have, one of `fer.fusion.members.ON_MISSING`.
      leave_out_common: whether the score leaves out videos whose ids are also in `weights_from`.
    """

    method: str = '2'
    accuracies: Sequence[float] | None = None
    on_missing: str = 'error'
    leave_out_common: bool = False


@dataclass(frozen=True, kw_only=True)
class SearchRequest(Request):
    """A search for the best ensemble among the files of `weights_from`, which need labels.

    Attributes:
      search: `exhaustive` tries every subset, `greedy` adds models one by one. `auto` is exhaustive for up to
        `fer.fusion.search.MOST_EXHAUSTIVE` files, else greedy.
      methods: keys of `fer.fusion.methods.METHODS` to try: any except the regressions.
    """

    search: str = 'auto'
    methods: Sequence[str] = ('1', '2', '3', '4')
    repeats: int = 1


def check_all_labelled(members: Members, flag: str) -> None:
    """Raises InputError if a video has no label in any file, naming the flag that needs all labels."""
    if (members.labels < 0).any():
        video_id = members.results[0].video_ids[int((members.labels < 0).argmax())]
        raise InputError(f'{members.paths[0]}: video {video_id} has no label in any file; {flag} needs all labels')
