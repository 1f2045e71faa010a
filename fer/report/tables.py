"""The tables of chapters 6 and 7, the dissertation's numbers beside ours."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from fer.dissertation.chapter7 import Comparison, read_comparisons
from fer.dissertation.entrants import Entrant, read_entrants
from fer.dissertation.errata import Erratum, read_errata
from fer.dissertation.runs import Run, read_runs
from fer.report.cells import ABOVE, BELOW, COVERED, METRICS, MISSING, Estimate, estimate, judge, same_videos
from fer.report.runs import AFEW_VIDEOS, Answers, Flag, Found, Seed, datasets_of

MIXED = 'printed above and below'
VERDICTS = (COVERED, ABOVE, BELOW, MIXED, MISSING)
FEW_SEEDS = range(2, 5)  # so many know too little of how much seeds differ
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


class Cell(NamedTuple):
    """One number of the dissertation and ours."""

    printed: float | None  # percent
    ours: Estimate | None
    verdict: str  # as `judge` gives it


class Line(NamedTuple):
    """A run on one dataset."""

    dataset: str
    accuracy: Cell
    f1: Cell
    seeds: list[int]  # that our numbers are of
    validated: list[float]  # percent, a late fusion's cross-validated accuracy of each seed that has one
    optimistic: bool  # weights of a late fusion come from the videos that the score is of


class Row(NamedTuple):
    """A run of a table, or one that no table lists."""

    run_id: str
    settings: str
    doubt: str | None
    errata: list[int]  # numbers of those that concern the run
    lines: list[Line]
    verdict: str  # one of VERDICTS; '' where nothing is printed
    flags: list[tuple[str, Flag]]  # with whom they concern: `seed 0`, `seeds 1-4`, or `seeds` of all together
    unfinished: list[tuple[int, str, str]]  # seed, what it lacks, its status line
    dates: list[str]
    commits: list[str]


class Table(NamedTuple):
    """A table of chapter 6."""

    section: str  # as in run ids: 6.5e and 6.5l are the halves of 6.5
    number: int
    title: str
    stills: bool  # with three datasets
    rows: list[Row]
    commits: list[str]  # of all its rows; several are a warning


class Standing(NamedTuple):
    """A row of chapter 7; `ours` is of the run that a row TP is."""

    printed: Comparison
    ours: Cell | None
    line: Line | None


class Summary(NamedTuple):
    """What stands at the top."""

    verdicts: dict[str, int]  # rows of each of VERDICTS
    rows: int
    finished: int  # run folders
    unfinished: int
    most_seeds: int  # of a run
    few_seeds: int  # rows of two to four seeds, whose intervals are too short
    flags: dict[str, int]  # rows with a flag of each kind
    unchecked: list[str]  # run ids without a flagfile
    ignored: list[str]  # folders that end like a run's and are called as no run


class Report(NamedTuple):
    """All that is said in numbers."""

    summary: Summary
    tables: list[Table]
    others: list[Row]  # runs that no table has
    chapter7: list[list[Standing]]  # by table
    entrants: list[Entrant]
    errata: list[Erratum]


def compile_report(found: Found) -> Report:
    """Lays what was found beside what is printed."""
    seeds = found.seeds
    errata = read_errata()
    concerning: dict[str, list[int]] = {}
    for erratum in errata:
        for run_id in (erratum.runs or '').split(';'):
            concerning.setdefault(run_id, []).append(erratum.number)
    tables: dict[tuple[str, int], list[Row]] = {}
    titles = {}
    runs = read_runs()
    for run in runs:
        key = (run.run_id.partition('-')[0], run.table)
        row = _row(run.run_id, run, seeds.get(run.run_id, []), concerning.get(run.run_id, []))
        tables.setdefault(key, []).append(row)
        titles[key] = _LATE_FUSION_TITLES[run.table] if run.model is None else NETWORKS[run.model]
    known = {run.run_id for run in runs}
    others = [_row(run_id, None, seeds[run_id], []) for run_id in sorted(seeds) if run_id not in known]
    laid = [
        Table(section, number, titles[section, number], section == '6.1', rows, _commits(rows))
        for (section, number), rows in tables.items()
    ]
    by_id = {row.run_id: row for rows in tables.values() for row in rows}
    chapter7: dict[int, list[Standing]] = {}
    for printed in read_comparisons():
        standing = Standing(printed, None, None)
        if printed.run_id:
            (line,) = by_id[printed.run_id].lines
            ours = line.accuracy.ours
            standing = Standing(printed, Cell(printed.val_acc, ours, judge(printed.val_acc, ours)), line)
        chapter7.setdefault(printed.table, []).append(standing)
    everything = [*by_id.values(), *others]
    folders = [seed for several in seeds.values() for seed in several if seed.folder]
    verdicts = Counter(row.verdict for row in by_id.values())
    kinds = Counter(kind for row in everything for kind in {flag.kind for _, flag in row.flags})
    summary = Summary(
        {verdict: verdicts[verdict] for verdict in VERDICTS},
        len(by_id),
        sum(seed.finished for seed in folders),
        sum(not seed.finished for seed in folders),
        max((len(line.seeds) for row in everything for line in row.lines), default=0),
        sum(any(len(line.seeds) in FEW_SEEDS for line in row.lines) for row in everything),
        dict(sorted(kinds.items())),
        found.unchecked,
        found.ignored,
    )
    return Report(summary, laid, others, [*chapter7.values()], read_entrants(), errata)


def section_title(section: str) -> str:
    """`6.5e` is `6.5 Early Fusion`."""
    return f'{section.rstrip("el")} {_SECTIONS[section]}'


def answers_of(seeds: Sequence[Seed], dataset: str) -> list[Answers]:
    """The answers for a dataset of those seeds that have them."""
    return [seed.answers[dataset] for seed in seeds if dataset in seed.answers]


def _row(run_id: str, run: Run | None, seeds: Sequence[Seed], errata: list[int]) -> Row:
    lines, flags = [], _gather(seeds)
    for dataset in datasets_of(run_id):
        answers = answers_of(seeds, dataset)
        lines.append(_line(run, dataset, [seed.seed for seed in seeds if dataset in seed.answers], answers))
        if answers and not same_videos(answers):
            flags.append(('seeds', Flag('data', f'{dataset}: answered other videos, or with other labels')))
        flags.extend(_repeated(dataset, seeds))
        counts = sorted({len(one.ids) for one in answers})
        if dataset == 'AFEW' and counts and counts != [AFEW_VIDEOS]:
            text = f'{" or ".join(map(str, counts))} videos; AFEW validates on {AFEW_VIDEOS}'
            flags.append(('seeds', Flag('data', text)))
    counted = [seed for seed in seeds if seed.answers]
    commits = list(dict.fromkeys(commit for seed in counted for commit in seed.commits))
    if len(commits) > 1:
        flags.append(('seeds', Flag('commits', ', '.join(commit[:8] for commit in commits))))
    return Row(
        run_id,
        describe(run) if run else '',
        run.doubt if run else None,
        errata,
        lines,
        _verdict_of(lines) if run else '',
        flags,
        [(seed.seed, '; '.join(seed.lacking), seed.status) for seed in seeds if not seed.finished],
        sorted({date for seed in counted for date in seed.dates}),
        commits,
    )


def _gather(seeds: Sequence[Seed]) -> list[tuple[str, Flag]]:
    """The flags of the seeds, one that several have only once."""
    found: dict[Flag, list[int]] = {}
    for seed in seeds:
        for flag in seed.flags:
            found.setdefault(flag, []).append(seed.seed)
    return [(f'seed{"s" * (len(which) > 1)} {ranges(which)}', flag) for flag, which in found.items()]


def _repeated(dataset: str, seeds: Sequence[Seed]) -> list[tuple[str, Flag]]:
    """A flag for those of the seeds that have the very same results: logits of two trainings never agree to the bit."""
    same: dict[str, list[int]] = {}
    for seed in seeds:
        if dataset in seed.answers:
            same.setdefault(seed.answers[dataset].digest, []).append(seed.seed)
    text = f'{dataset}: results that are the same to the byte'
    return [(f'seeds {ranges(which)}', Flag('seed', text)) for which in same.values() if len(which) > 1]


def ranges(numbers: Sequence[int]) -> str:
    """`0-3, 7` of ascending 0, 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ', '.join(str(part[0]) if len(part) == 1 else f'{part[0]}-{part[-1]}' for part in parts)


def _line(run: Run | None, dataset: str, seeds: list[int], answers: list[Answers]) -> Line:
    ours = estimate(answers) if answers else {}
    cells = {}
    for metric in METRICS:
        printed = getattr(run, f'{_PREFIXES[dataset]}_{metric}') if run else None
        cells[metric] = Cell(printed, ours.get(metric), judge(printed, ours.get(metric)))
    return Line(
        dataset,
        cells['accuracy'],
        cells['f1'],
        seeds,
        [one.cross_validated for one in answers if one.cross_validated is not None],
        any(one.optimistic for one in answers),
    )


def _verdict_of(lines: Sequence[Line]) -> str:
    """Of all a row's printed numbers together; a row of which any is missing is missing."""
    verdicts = {cell.verdict for line in lines for cell in (line.accuracy, line.f1)} - {''}
    if MISSING in verdicts:
        return MISSING
    if verdicts >= {ABOVE, BELOW}:
        return MIXED
    return next((verdict for verdict in (ABOVE, BELOW) if verdict in verdicts), COVERED)


def _commits(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(commit for row in rows for commit in row.commits))


def describe(run: Run) -> str:
    """The settings of a run in a line, those that its table is about."""
    parts: list[str] = []

    def add(text: str, value: object) -> None:
        if value is not None:
            parts.append(text.format(value))

    if run.fusion_method:
        add('method {}', run.fusion_method)
        add('{} members', len(run.members.split(';')) if run.members else None)
        add('their mean accuracy {:.1f}', run.avg_accuracy)
        return ', '.join(parts)
    add('option {}', run.fusion_option)
    add('audio {}', run.audio_run)
    add('hidden {}', run.hidden_units)
    if run.rnn_units:
        add('{}', f'{"B" * bool(run.bidirectional)}GRU {run.rnn_layers} x {run.rnn_units}')
    elif run.bidirectional:
        parts.append('BGRU')
    add('{}', 'attention' if run.attention else None)
    add('{}', 'batch normalisation' if run.batch_norm else None)
    add('windows of {}', run.seq_len if run.seq_len != 1 else None)
    add('{}', 'per frame' if run.seq_len == 1 else None)
    add('{}', run.classify if run.seq_len != 1 else None)
    add('{}', run.aggregate)
    add('LR {}', f'{run.learning_rate:f}'.rstrip('0') if run.learning_rate else None)
    add('{}', run.lr_schedule)
    add('batch {}', run.batch_size)
    add('epochs {}', run.epochs.replace(',', ' + ') if run.epochs else None)
    add('global pool {}', run.global_pool)
    add('dropout {:g}', run.dropout)
    add('{}', 'dense layers fresh' if run.reinit_fc else None)
    add('from {}', run.init_from.replace(';', ', ') if run.init_from else None)
    return ', '.join(parts)
