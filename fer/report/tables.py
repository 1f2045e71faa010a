# SPDX-License-Identifier: Apache-2.0
"""The tables of chapters 6 and 7, with the dissertation's numbers beside ours."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fer.dissertation.chapter7 import Comparison, read_comparisons
from fer.dissertation.entrants import Entrant, read_entrants
from fer.dissertation.errata import Erratum, read_errata
from fer.dissertation.runs import Run, read_runs
from fer.report.describe import describe
from fer.report.intervals import ABOVE, BELOW, COVERED, METRICS, MISSING, Estimate, estimate, judge, same_videos
from fer.report.runs import FoundRuns
from fer.report.seeds import Flag, SeedRun, SplitResults, datasets_of

MIXED = 'printed above and below'
VERDICTS = (COVERED, ABOVE, BELOW, MIXED, MISSING)
FEW_SEEDS = range(2, 5)  # numbers of seeds whose interval is too short
AFEW_VIDEOS = 383  # of its validation set (2.2.2)
NETWORKS = {
    'vgg_face': 'VGG-Face',
    'resnet50': 'ResNet-50',
    'densenet121': 'DenseNet-121',
    'se_resnet50': 'SE-ResNet-50',
    'se_resnext50': 'SE-ResNeXt-50',
    'nasnet': 'NASNet',
    'ffn': 'Whole Video',
    'audio_gru': 'Video Clips',
}
_SECTIONS = {
    '6.1': 'Pre-Training Visual',
    '6.2': 'Fine-Tuning Visual',
    '6.3': 'Temporal Visual',
    '6.4': 'Audio',
    '6.5e': 'Early Fusion',
    '6.5l': 'Late Fusion',
}
_LATE_FUSION_TITLES = {
    1: 'Fine-Tune Visual CNN Models',
    2: 'Fine-Tune Visual Temporal Models',
    3: 'Early Fusion Models',
    4: 'All Models',
}
_PREFIXES = {'RAF-DB': 'rafdb', 'AffectNet': 'affectnet', 'FER2013': 'fer2013', 'AFEW': 'afew'}  # of runs.csv's columns


class ScoreCell(NamedTuple):
    """A number of the dissertation and ours."""

    printed: float | None  # percent
    ours: Estimate | None
    verdict: str  # as `judge` returns it


class DatasetLine(NamedTuple):
    """A run's scores on one dataset."""

    dataset: str
    accuracy: ScoreCell
    f1: ScoreCell
    seeds: list[int]  # the seeds that our numbers come from
    validated: list[float]  # cross-validated accuracies in percent, of the seeds of a late fusion that have one
    optimistic: bool  # the late fusion was fitted on the same videos that it is scored on


class RunRow(NamedTuple):
    """A run of a table, or one that no table lists."""

    run_id: str
    settings: str
    doubt: str | None
    errata: list[int]  # numbers of the errata about this run
    lines: list[DatasetLine]
    verdict: str  # one of VERDICTS, or '' if nothing is printed
    flags: list[tuple[str, Flag]]  # each with its seeds: `seed 0`, `seeds 1-4`, or `seeds` for all together
    unfinished: list[tuple[int, str, str]]  # seed, missing files, status line
    dates: list[str]
    commits: list[str]


class Table(NamedTuple):
    """A table of chapter 6."""

    section: str  # as in run ids: 6.5e and 6.5l are the halves of 6.5
    number: int
    title: str
    stills: bool  # True for the stills of section 6.1, which have three datasets
    rows: list[RunRow]
    commits: list[str]  # of all rows. The report warns of more than one


class Chapter7Row(NamedTuple):
    """A row of chapter 7. The rows named TP are runs of chapter 6."""

    printed: Comparison
    ours: ScoreCell | None  # for a row named TP
    line: DatasetLine | None


class ReportSummary(NamedTuple):
    """The counts at the top of the report."""

    verdicts: dict[str, int]  # number of rows with each of VERDICTS
    rows: int
    finished: int  # run folders
    unfinished: int
    most_seeds: int  # of one run
    few_seeds: int  # rows with two to four seeds, whose intervals are too short
    flags: dict[str, int]  # number of rows with each kind of flag
    unchecked: list[str]  # run ids without a flagfile
    ignored: list[str]  # folders named <x>-seed<k> where <x> is not a run id


class ReportTables(NamedTuple):
    """All numbers of the report."""

    summary: ReportSummary
    tables: list[Table]
    others: list[RunRow]  # runs that no table lists
    chapter7: list[list[Chapter7Row]]  # by table
    entrants: list[Entrant]
    errata: list[Erratum]


def compile_report(found: FoundRuns) -> ReportTables:
    """Puts the numbers of the runs beside the printed ones."""
    errata = read_errata()
    tables = _chapter6_tables(found.seeds, errata)
    by_id = {row.run_id: row for table in tables for row in table.rows}
    others = [_row(run_id, None, found.seeds[run_id], []) for run_id in sorted(found.seeds) if run_id not in by_id]
    summary = _summarise(found, [*by_id.values()], others)
    return ReportTables(summary, tables, others, _chapter7_tables(by_id), read_entrants(), errata)


def _chapter6_tables(seeds: Mapping[str, Sequence[SeedRun]], errata: Sequence[Erratum]) -> list[Table]:
    errata_of: dict[str, list[int]] = {}
    for erratum in errata:
        for run_id in (erratum.runs or '').split(';'):
            errata_of.setdefault(run_id, []).append(erratum.number)
    rows: dict[tuple[str, int], list[RunRow]] = {}
    titles = {}
    for run in read_runs():
        key = (run.run_id.partition('-')[0], run.table)
        row = _row(run.run_id, run, seeds.get(run.run_id, []), errata_of.get(run.run_id, []))
        rows.setdefault(key, []).append(row)
        titles[key] = _LATE_FUSION_TITLES[run.table] if run.model is None else NETWORKS[run.model]
    return [
        Table(section, number, titles[section, number], section == '6.1', of_table, _unique_commits(of_table))
        for (section, number), of_table in rows.items()
    ]


def _chapter7_tables(by_id: Mapping[str, RunRow]) -> list[list[Chapter7Row]]:
    tables: dict[int, list[Chapter7Row]] = {}
    for printed in read_comparisons():
        row = Chapter7Row(printed, None, None)
        if printed.run_id:
            (line,) = by_id[printed.run_id].lines
            ours = line.accuracy.ours
            row = Chapter7Row(printed, ScoreCell(printed.val_acc, ours, judge(printed.val_acc, ours)), line)
        tables.setdefault(printed.table, []).append(row)
    return [*tables.values()]


def _summarise(found: FoundRuns, listed: Sequence[RunRow], others: Sequence[RunRow]) -> ReportSummary:
    rows = [*listed, *others]
    folders = [seed for several in found.seeds.values() for seed in several if seed.folder]
    verdicts = Counter(row.verdict for row in listed)
    kinds = Counter(kind for row in rows for kind in {flag.kind for _, flag in row.flags})
    return ReportSummary(
        {verdict: verdicts[verdict] for verdict in VERDICTS},
        len(listed),
        sum(seed.finished for seed in folders),
        sum(not seed.finished for seed in folders),
        max((len(line.seeds) for row in rows for line in row.lines), default=0),
        sum(any(len(line.seeds) in FEW_SEEDS for line in row.lines) for row in rows),
        dict(sorted(kinds.items())),
        found.unchecked,
        found.ignored,
    )


def section_title(section: str) -> str:
    """Returns the title of a section: `6.5e` gives `6.5 Early Fusion`."""
    return f'{section.rstrip("el")} {_SECTIONS[section]}'


def results_of(seeds: Sequence[SeedRun], dataset: str) -> list[SplitResults]:
    """Returns the results on a dataset, of those seeds that have them."""
    return [seed.results[dataset] for seed in seeds if dataset in seed.results]


def _row(run_id: str, run: Run | None, seeds: Sequence[SeedRun], errata: list[int]) -> RunRow:
    """Compiles the row of a run.

    Args:
      run_id: the run.
      run: the row of the dissertation, None for a run that no table lists.
      seeds: the run's folders.
      errata: numbers of the errata about the run.
    """
    lines = []
    flags = _flags_by_seed(seeds)
    for dataset in datasets_of(run_id):
        lines.append(_line(run, dataset, seeds))
        flags.extend(_check_dataset(dataset, seeds))
    scored = [seed for seed in seeds if seed.results]
    commits = list(dict.fromkeys(commit for seed in scored for commit in seed.commits))
    if len(commits) > 1:
        flags.append(('seeds', Flag('commits', ', '.join(commit[:8] for commit in commits))))
    return RunRow(
        run_id,
        describe(run) if run else '',
        run.doubt if run else None,
        errata,
        lines,
        _row_verdict(lines) if run else '',
        flags,
        [(seed.seed, '; '.join(seed.missing), seed.status) for seed in seeds if not seed.finished],
        sorted({date for seed in scored for date in seed.dates}),
        commits,
    )


def _flags_by_seed(seeds: Sequence[SeedRun]) -> list[tuple[str, Flag]]:
    """Returns the flags of the seeds. A flag of several seeds is returned once, with the numbers of these seeds."""
    found: dict[Flag, list[int]] = {}
    for seed in seeds:
        for flag in seed.flags:
            found.setdefault(flag, []).append(seed.seed)
    return [(f'seed{"s" * (len(which) > 1)} {ranges(which)}', flag) for flag, which in found.items()]


def _check_dataset(dataset: str, seeds: Sequence[SeedRun]) -> Iterable[tuple[str, Flag]]:
    """Yields a flag for seeds with other videos, for repeated results, and for a wrong number of videos."""
    results = results_of(seeds, dataset)
    if results and not same_videos(results):
        items = 'videos' if dataset == 'AFEW' else 'stills'
        yield 'seeds', Flag('data', f'{dataset}: the seeds have different {items} or labels')
    yield from _repeated(dataset, seeds)
    counts = sorted({len(one.ids) for one in results})
    if dataset == 'AFEW' and counts and counts != [AFEW_VIDEOS]:
        text = f'{" or ".join(map(str, counts))} videos; the validation set of AFEW has {AFEW_VIDEOS}'
        yield 'seeds', Flag('data', text)


def _repeated(dataset: str, seeds: Sequence[SeedRun]) -> list[tuple[str, Flag]]:
    """Returns a flag for seeds with identical results files. The logits of two trainings are never equal to the bit."""
    by_digest: dict[str, list[int]] = {}
    for seed in seeds:
        if dataset in seed.results:
            by_digest.setdefault(seed.results[dataset].digest, []).append(seed.seed)
    flag = Flag('seed', f'{dataset}: the results files are identical')
    return [(f'seeds {ranges(which)}', flag) for which in by_digest.values() if len(which) > 1]


def ranges(numbers: Sequence[int]) -> str:
    """Returns ascending numbers in a short form: 0, 1, 2, 3, 7 gives `0-3, 7`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ', '.join(str(part[0]) if len(part) == 1 else f'{part[0]}-{part[-1]}' for part in parts)


def _line(run: Run | None, dataset: str, seeds: Sequence[SeedRun]) -> DatasetLine:
    results = results_of(seeds, dataset)
    ours = estimate(results) if results else {}
    cells = {}
    for metric in METRICS:
        printed = getattr(run, f'{_PREFIXES[dataset]}_{metric}') if run else None
        cells[metric] = ScoreCell(printed, ours.get(metric), judge(printed, ours.get(metric)))
    return DatasetLine(
        dataset,
        cells['accuracy'],
        cells['f1'],
        [seed.seed for seed in seeds if dataset in seed.results],
        [one.cross_validated for one in results if one.cross_validated is not None],
        any(one.optimistic for one in results),
    )


def _row_verdict(lines: Sequence[DatasetLine]) -> str:
    """Returns the verdict of a row, from those of its printed numbers. If any is missing, the row is missing."""
    verdicts = {cell.verdict for line in lines for cell in (line.accuracy, line.f1)} - {''}
    if MISSING in verdicts:
        return MISSING
    if verdicts >= {ABOVE, BELOW}:
        return MIXED
    return next((verdict for verdict in (ABOVE, BELOW) if verdict in verdicts), COVERED)


def _unique_commits(rows: Sequence[RunRow]) -> list[str]:
    return list(dict.fromkeys(commit for row in rows for commit in row.commits))
