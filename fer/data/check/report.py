# SPDX-License-Identifier: Apache-2.0
"""The results of a check, printed and as files."""

import csv
import json
from collections import Counter
from pathlib import Path

from fer.data.check.corpus import KINDS, CheckedManifest, CorpusReport, Problem
from fer.emotions import EMOTIONS
from fer.files import atomic_write
from fer.manifest import UNKNOWN
from fer.wording import words_for

_LISTED = 5  # problems of a kind that are printed
_SIZES = 4  # sizes of images that are printed


def count_classes(checked: CheckedManifest) -> dict[str, tuple[int, int]]:
    """Returns {class: (official videos, lines in the manifest)}. `-` counts those without a label."""
    videos = Counter(row.label for row in checked.ledger)
    frames: Counter[int | None] = Counter()
    for video in checked.manifest.videos:
        frames[video.label] += len(video.lines)
    unlabelled = {UNKNOWN: (videos[None], frames[None])} if videos[None] or frames[None] else {}
    if not (videos.keys() | frames.keys()) - {None}:
        return unlabelled
    return {name: (videos[label], frames[label]) for label, name in enumerate(EMOTIONS)} | unlabelled


def format_report(report: CorpusReport) -> str:
    """Returns a paragraph for each manifest, then problems by kind with the first examples of each."""
    lines = []
    for checked in report.manifests:
        lines += [*_describe(checked), '']
    counts = Counter(problem.kind for problem in report.problems)
    for kind, number in counts.items():
        lines.append(f'{kind}: {number}, {KINDS[kind]}')
        examples = [problem for problem in report.problems if problem.kind == kind][:_LISTED]
        lines += ['  ' + ' '.join(str(example).splitlines()) for example in examples]  # names may break lines
        if number > _LISTED:
            lines.append(f'  ... and {number - _LISTED} more')
    if report.drift:
        lines.append(f'drift: {len(report.drift)}, a quantity differs between two manifests, beyond chance')
        lines += [f'  {drift}' for drift in report.drift]
    lines += [f'warning: {warning}' for warning in report.warnings]
    lines.append(f'problems: {len(report.problems)}' if report.problems else 'clean')
    return '\n'.join(lines).encode(errors='backslashreplace').decode()  # names of files may not be UTF-8


def _describe(checked: CheckedManifest) -> list[str]:
    videos = checked.manifest.videos
    official = len(checked.ledger) or len(videos)  # without a readable ledger, those of the manifest
    lines = sum(len(video.lines) for video in videos)
    classes = count_classes(checked)
    words = words_for(checked.item, images=any(v.frames for v in videos), audio=any(v.audio for v in videos))
    width = max(map(len, classes), default=0)
    text = [
        f'{checked.manifest.path}: {official} {words.items} ({official - len(videos)} {words.without}), {lines} lines'
    ]
    if checked.sizes:
        sizes = [f'{number} of {w}x{h}' for (w, h), number in checked.sizes.most_common(_SIZES)]
        more = f', and {len(checked.sizes) - _SIZES} sizes more' if len(checked.sizes) > _SIZES else ''
        text.append(f'  images: {", ".join(sizes)}{more}')
    text += [f'  {name:{width}}  {n:7,} {words.items}  {frames:9,} lines' for name, (n, frames) in classes.items()]
    return text


def write_report(report: CorpusReport, folder: str) -> None:
    """Writes problems.csv, with a row per problem, and summary.json, with all counts."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    with atomic_write(root / 'problems.csv') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(Problem._fields)
        writer.writerows(
            [str(field).encode(errors='backslashreplace').decode() for field in problem] for problem in report.problems
        )
    counts = Counter(problem.kind for problem in report.problems)
    summary = {
        'manifests': [
            {
                'manifest': checked.manifest.path,
                'videos': len(checked.ledger) or len(checked.manifest.videos),
                'with_frames': len(checked.manifest.videos),
                'lines': sum(len(video.lines) for video in checked.manifest.videos),
                'classes': {name: {'videos': v, 'lines': n} for name, (v, n) in count_classes(checked).items()},
                'sizes': {f'{w}x{h}': number for (w, h), number in checked.sizes.most_common()},
            }
            for checked in report.manifests
        ],
        'problems': {kind: counts[kind] for kind in KINDS},
        'drift': [drift._asdict() for drift in report.drift],
        'warnings': report.warnings,
    }
    with atomic_write(root / 'summary.json') as file:
        json.dump(summary, file, indent=1)
