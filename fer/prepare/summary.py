"""What `python -m fer.prepare` prints: each item that cannot be used, and sums."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from fer.errors import one_line
from fer.files import atomic_write
from fer.prepare.layout import SourceStill, SourceVideo
from fer.prepare.prepared import KEPT, Prepared, count_rates
from fer.prepare.tracking import OTHER_PERSON
from fer.sample_rates import compare_rates

PROBLEMS = '{}_problems.csv'
_LISTED = 20  # problems of a split that are printed
_DETAILS = 3  # of a fact about files that are printed
_MOST_OTHERS = 0.1  # share of the frames above which a line is printed


def report(
    split: str,
    items: Sequence[SourceVideo | SourceStill],
    prepared: Sequence[Prepared],
    output: Path,
    manifest: str = '{}.txt',
) -> None:
    """Writes what a split lacks to OUTPUT/<split>_problems.csv; prints that, as far as a screen holds it, and sums."""
    lacking = _lacking(items, prepared)
    path = output / PROBLEMS.format(split)
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(('video_id', 'source', 'gap', 'problem'))
        writer.writerows([printable(field) for field in row] for row in lacking)
    _print(split, lacking[:_LISTED])
    if len(lacking) > _LISTED:
        print(f'{split}: {len(lacking) - _LISTED} more in {path}')
    print(f'{split}: {summarise(prepared)} -> {output / manifest.format(split)}')
    if differing := compare_rates({split: count_rates(prepared)}):
        print(differing)


def report_share(
    split: str, items: Sequence[SourceVideo | SourceStill], prepared: Sequence[Prepared], share: str
) -> None:
    """Prints what a shard's part of a split lacks, and sums, while other shards are not done."""
    _print(split, _lacking(items, prepared))
    print(f'{split}: share {share} is done; the last job to end writes the manifests; {summarise(prepared)}')


def _lacking(
    items: Sequence[SourceVideo | SourceStill], prepared: Sequence[Prepared]
) -> list[tuple[str, str, str, str]]:
    """(id, source, gap, problem) of what cannot be used, or only in part."""
    sources = [item.name if isinstance(item, SourceStill) else str(item.path) for item in items]
    return [
        (done.row.video_id, source, done.row.gap, done.problem)
        for source, done in zip(sources, prepared, strict=True)
        if done.row.gap or done.problem
    ]


def _print(split: str, lacking: Sequence[tuple[str, str, str, str]]) -> None:
    for _, source, gap, problem in lacking:
        print(one_line(f'{split}: {source}: {gap} {problem}'.rstrip()))


def printable(text: str) -> str:
    """Text that can be written: names of files may hold what is no UTF-8."""
    return text.encode(errors='backslashreplace').decode()


def summarise(prepared: Sequence[Prepared]) -> str:
    """`383 videos, 379 with faces; 20417 of 21873 frames kept (1456 no_face); 14.2 min of sound; failures: none`."""
    rows = [done.row for done in prepared]
    usable = sum(1 for row in rows if not row.gap)
    causes = Counter(row.gap for row in rows if row.gap)
    causes['in part'] = sum(1 for done in prepared if done.problem and not done.row.gap)
    failures = ', '.join(f'{count} {cause}' for cause, count in sorted(causes.items()) if count) or 'none'
    if not any(done.statuses for done in prepared):
        seconds = [row.audio_seconds for row in rows if row.audio_seconds]
        audio = f'; {sum(seconds) / 60:.1f} min of audio' if seconds else ''
        return f'{len(rows)} items, {usable} usable{audio}{_describe_facts(prepared)}; failures: {failures}'
    statuses = _total(done.statuses for done in prepared)
    parts = [
        f'{len(rows)} videos, {usable} with faces',
        f'{sum(row.frames_kept for row in rows)} of {sum(statuses.values())} frames kept{_counts(statuses, KEPT)}',
    ]
    seconds = [row.audio_seconds for row in rows if row.audio_seconds is not None]
    if seconds:
        sound = Counter({f'{state} clips': count for state, count in _total(done.sound for done in prepared).items()})
        sound['videos without'] = seconds.count(0)
        parts.append(f'{sum(seconds) / 60:.1f} min of sound{_counts(sound)}')
    return '; '.join(parts) + f'{_describe_facts(prepared)}; failures: {failures}'


def describe_other_people(prepared: Sequence[Prepared]) -> str:
    """Returns a line where more than a tenth of the frames shows only somebody else than the person followed, or ''."""
    statuses = _total(done.statuses for done in prepared)
    lost, total = statuses[OTHER_PERSON], sum(statuses.values())
    if lost <= _MOST_OTHERS * total:
        return ''
    return (
        f'{lost} of {total} frames ({lost / total:.0%}) show only another person than the one followed; '
        '--person=largest takes the largest face of every frame instead'
    )


def _describe_facts(prepared: Sequence[Prepared]) -> str:
    """`; 3 interlaced (deinterlaced); 2 several audio streams (took audio stream 1 of 2)`, or nothing."""
    facts = Counter((kind, detail) for done in prepared for kind, detail in done.facts.items())
    kinds = Counter(kind for done in prepared for kind in done.facts)
    text = ''
    for kind, count in sorted(kinds.items()):
        details = [detail for (of, detail), _ in facts.most_common() if of == kind]
        more = f', and {len(details) - _DETAILS} other ways' if len(details) > _DETAILS else ''
        text += f'; {count} {kind} ({", or ".join(details[:_DETAILS])}{more})'
    return text


def _total(counters: Iterable[dict[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _counts(counter: Counter[str], leave_out: str = '') -> str:
    """` (12 no_face, 3 other_person)`, or nothing."""
    parts = [f'{count} {name}' for name, count in sorted(counter.items()) if count and name != leave_out]
    return f' ({", ".join(parts)})' if parts else ''
