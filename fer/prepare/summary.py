# SPDX-License-Identifier: Apache-2.0
"""Prints each item that `python -m fer.prepare` cannot use, and the totals of each split."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from fer.errors import one_line
from fer.files import atomic_write
from fer.prepare.layout import SourceStill, SourceVideo
from fer.prepare.prepared import KEPT, Prepared, count_rates
from fer.prepare.tracking import OTHER_PERSON
from fer.sample_rates import compare_rates

PROBLEMS = '{}_problems.csv'
_LISTED = 20  # most problems of a split that are printed
_DETAILS = 3  # most details of a fact about files that are printed
_MOST_OTHERS = 0.1  # share of frames with only another person above which a line is printed


class _Problem(NamedTuple):
    """An item that cannot be used, or only in part. It is a row of <split>_problems.csv."""

    video_id: str
    source: str
    gap: str
    problem: str


def report(
    split: str,
    items: Sequence[SourceVideo | SourceStill],
    prepared: Sequence[Prepared],
    output: Path,
    manifest: str = '{}.txt',
) -> None:
    """Writes a split's problems to OUTPUT/<split>_problems.csv. Prints the first of them, and totals."""
    problems = _find_problems(items, prepared)
    path = output / PROBLEMS.format(split)
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(_Problem._fields)
        writer.writerows([printable(field) for field in row] for row in problems)
    _print_problems(split, problems[:_LISTED])
    if len(problems) > _LISTED:
        print(f'{split}: {len(problems) - _LISTED} more in {path}')
    print(f'{split}: {summarise(prepared)} -> {output / manifest.format(split)}')
    if differing := compare_rates({split: count_rates(prepared)}):
        print(differing)


def report_share(
    split: str, items: Sequence[SourceVideo | SourceStill], prepared: Sequence[Prepared], share: str
) -> None:
    """Prints the problems and totals of a shard's part of a split, while other shards are not finished."""
    _print_problems(split, _find_problems(items, prepared))
    print(f'{split}: share {share} is done; the last job to end writes the manifests; {summarise(prepared)}')


def _find_problems(items: Sequence[SourceVideo | SourceStill], prepared: Sequence[Prepared]) -> list[_Problem]:
    sources = [item.name if isinstance(item, SourceStill) else str(item.path) for item in items]
    return [
        _Problem(result.row.video_id, source, result.row.gap, result.problem)
        for source, result in zip(sources, prepared, strict=True)
        if result.row.gap or result.problem
    ]


def _print_problems(split: str, problems: Sequence[_Problem]) -> None:
    for _, source, gap, problem in problems:
        print(one_line(f'{split}: {source}: {gap} {problem}'.rstrip()))


def printable(text: str) -> str:
    """Returns the text with escapes for bytes that are not UTF-8. A file's name may have such bytes."""
    return text.encode(errors='backslashreplace').decode()


def summarise(prepared: Sequence[Prepared]) -> str:
    """Returns the totals of prepared items in one line, such as

    `383 videos, 379 with faces; 20417 of 21873 frames kept (1456 no_face); 14.2 min of audio; failures: none`.
    """
    rows = [item.row for item in prepared]
    usable = sum(1 for row in rows if not row.gap)
    causes = Counter(row.gap for row in rows if row.gap)
    causes['in part'] = sum(1 for item in prepared if item.problem and not item.row.gap)
    failures = ', '.join(f'{count} {cause}' for cause, count in sorted(causes.items()) if count) or 'none'
    if not any(item.statuses for item in prepared):
        seconds = [row.audio_seconds for row in rows if row.audio_seconds]
        audio = f'; {sum(seconds) / 60:.1f} min of audio' if seconds else ''
        return f'{len(rows)} items, {usable} usable{audio}{_describe_facts(prepared)}; failures: {failures}'
    statuses = _sum_counts(item.statuses for item in prepared)
    parts = [
        f'{len(rows)} videos, {usable} with faces',
        f'{sum(row.frames_kept for row in rows)} of {sum(statuses.values())} frames kept'
        f'{_describe_counts(statuses, KEPT)}',
    ]
    seconds = [row.audio_seconds for row in rows if row.audio_seconds is not None]
    if seconds:
        states = _sum_counts(item.sound for item in prepared)
        counts = Counter({f'{state} clips': count for state, count in states.items()})
        counts['videos without'] = seconds.count(0)
        parts.append(f'{sum(seconds) / 60:.1f} min of audio{_describe_counts(counts)}')
    return '; '.join(parts) + f'{_describe_facts(prepared)}; failures: {failures}'


def describe_other_people(prepared: Sequence[Prepared]) -> str:
    """Returns a line if more than a tenth of the frames show only people who are not followed, or ''."""
    statuses = _sum_counts(item.statuses for item in prepared)
    lost, total = statuses[OTHER_PERSON], sum(statuses.values())
    if lost <= _MOST_OTHERS * total:
        return ''
    return (
        f'{lost} of {total} frames ({lost / total:.0%}) show only another person than the one followed; '
        '--person=largest takes the largest face of every frame instead'
    )


def _describe_facts(prepared: Sequence[Prepared]) -> str:
    """Returns `; 3 interlaced (deinterlaced); 2 several audio streams (took audio stream 1 of 2)`, or ''."""
    facts = Counter((kind, detail) for item in prepared for kind, detail in item.facts.items())
    kinds = Counter(kind for item in prepared for kind in item.facts)
    text = ''
    for kind, count in sorted(kinds.items()):
        details = [detail for (of, detail), _ in facts.most_common() if of == kind]
        more = f', and {len(details) - _DETAILS} other ways' if len(details) > _DETAILS else ''
        text += f'; {count} {kind} ({", or ".join(details[:_DETAILS])}{more})'
    return text


def _sum_counts(counters: Iterable[dict[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _describe_counts(counter: Counter[str], leave_out: str = '') -> str:
    """Returns ` (12 no_face, 3 other_person)`, or ''."""
    parts = [f'{count} {name}' for name, count in sorted(counter.items()) if count and name != leave_out]
    return f' ({", ".join(parts)})' if parts else ''
