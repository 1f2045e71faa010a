"""Every run of the result tables of chapter 6: its row, its flags of train.py, its data, and what it restores.

`runs.csv` beside this module has what the dissertation states, numbers as it prints them; an empty cell is not
applicable or not stated. What a run cannot do without and nothing states is chosen in `_chosen` and `_chosen_visual`,
with the reason, and nowhere else.
"""

import csv
import types
import typing
from pathlib import Path
from typing import Any, NamedTuple

from fer.errors import InputError
from fer.prepare.prepared import AUDIOVISUAL, CLIPS, FUNCTIONALS

LATE_FUSION = 'late_fusion'
FACES = '{}.txt'  # a split's manifest of faces, or of stills

_TABLE = Path(__file__).with_name('runs.csv')


class Run(NamedTuple):
    """A row of `runs.csv`; None where its cell is empty."""

    run_id: str  # <section>-t<table>-r<run>; 6.5e is early fusion, 6.5l late fusion, whose tables count from 1 each
    section: str
    table: int
    run: int
    stage: str  # pretrain, finetune, temporal, audio_video, audio_clips, early_fusion or late_fusion
    model: str | None  # None for late fusion
    learning_rate: float | None
    lr_schedule: str | None
    batch_size: int | None
    epochs: str | None  # 30, or 5,25 for two phases
    seq_len: int | None  # None for stills and for whole videos' sound
    global_pool: bool | None  # None for VGG-Face and for sound
    aggregate: str | None
    classify: str | None
    reinit_fc: bool | None
    bidirectional: bool | None  # of early fusion's classifier, as the next three
    attention: bool | None
    rnn_layers: int | None
    rnn_units: int | None
    hidden_units: str | None  # 1024, or 256,64 for two layers
    dropout: float | None
    batch_norm: bool | None
    fusion_option: int | None  # of early fusion (4.4)
    audio_run: str | None  # the run_id whose GRU early fusion hears with
    fusion_method: int | None  # of late fusion (6.5)
    avg_accuracy: float | None  # percent, the mean of late fusion's members
    init_from: str | None  # the run_ids restored, with semicolons
    # Percent; F1 is the mean of the classes' F1. AFEW's are of its validation set.
    afew_accuracy: float | None
    afew_f1: float | None
    rafdb_accuracy: float | None
    rafdb_f1: float | None
    affectnet_accuracy: float | None
    affectnet_f1: float | None
    fer2013_accuracy: float | None
    fer2013_f1: float | None


class Data(NamedTuple):
    """What a run is trained and validated on."""

    datasets: tuple[str, ...]  # names of fer.prepare's --dataset; several are trained on together
    manifest: str  # of a split, in each dataset's folder: FACES.format('train')


class Predecessors(NamedTuple):
    """What a run starts from; fresh weights where all is None."""

    public: str | None  # what the public weights that --init_from names were trained on: faces or imagenet
    visual: str | None  # the run_id whose folder --init_from names
    audio: str | None  # the run_id whose folder --audio_run_dir names


# Where a flag is not called what its column is.
_FLAG_NAMES = {'epochs': 'train_epochs'}
# The columns that are flags, in the order of train.py; stage is the first flag of each run.
_FLAG_COLUMNS = (
    *('model', 'seq_len', 'global_pool', 'dropout', 'rnn_layers', 'rnn_units', 'bidirectional', 'attention'),
    *('hidden_units', 'batch_norm', 'fusion_option', 'classify', 'aggregate'),
    *('batch_size', 'epochs', 'learning_rate', 'lr_schedule', 'reinit_fc'),
)
# The stages whose --stage is called otherwise.
_STAGES = {'audio_video': 'audio', 'audio_clips': 'audio'}

_AFEW = ('afew',)
_DATA = {
    'pretrain': Data(('rafdb', 'affectnet', 'fer2013'), FACES),
    'finetune': Data(_AFEW, FACES),
    'temporal': Data(_AFEW, FACES),
    'audio_video': Data(_AFEW, FUNCTIONALS),
    'audio_clips': Data(_AFEW, CLIPS),
    'early_fusion': Data(_AFEW, AUDIOVISUAL),
}


def _cell(text: str, kind: Any) -> Any:
    """A cell as its field's type, `kind` being that type or `type | None`."""
    if text == '':
        return None
    (own,) = [option for option in typing.get_args(kind) or (kind,) if option is not types.NoneType]
    return {'True': True, 'False': False}[text] if own is bool else own(text)


def read_runs() -> list[Run]:
    """The 112 runs in the order of the tables."""
    kinds = typing.get_type_hints(Run)
    with open(_TABLE, encoding='utf-8', newline='') as file:
        return [Run(**{name: _cell(row[name], kind) for name, kind in kinds.items()}) for row in csv.DictReader(file)]


def _chosen(run: Run) -> dict[str, object]:
    """{column: value} of what a run's flags need and the dissertation leaves open; a cell that is filled wins."""
    if run.stage == 'finetune':
        # 6.2 calls a batch of 4 an increase and does not say over what: 3, 2 or 1. Two is the size below 4 that it
        # names elsewhere (table 5), and one window would be NASNet's special case.
        # How Run One, trained frame by frame, joins its frames in a score: by the mean, the rule everywhere else.
        return {'batch_size': 2, 'aggregate': 'mean'}
    if run.stage in ('audio_clips', 'early_fusion'):
        # 6.4 (table 2) and 6.5 say neither. Both build on 6.3's recurrent networks, all of which take the mean of the
        # exact sequence.
        chosen: dict[str, object] = {'classify': 'exact', 'aggregate': 'mean'}
        if run.stage == 'early_fusion' and run.fusion_option != 3:  # option 3's classifier is a dense layer
            # The size of the classifier's GRU: that of 6.3, whose 128 units 6.5 mentions for option 4.
            chosen |= {'rnn_layers': 2, 'rnn_units': 128}
        return chosen
    return {}


def _chosen_visual(run: Run) -> str | None:
    """The run restored where the dissertation says of which section it is, but not which."""
    if run.stage == 'early_fusion' and run.fusion_option == 4:
        # Option 4 sees with the CNN and GRU of 6.3 (4.4). Of its VGG-Face runs this one reads windows of 80 frames, as
        # all of 6.5, in one direction and without attention, so that it has the 128 outputs that 6.5 mentions. It
        # restored the CNN run that the table names.
        return '6.3-t1-r5'
    return None


def flags_of(run: Run) -> list[str]:
    """The flags of train.py that are the run's own, as `--name=value`.

    Whatever they leave out keeps the default of train.py. They name no path: for these see `data_of` and
    `predecessors`.

    Raises:
      InputError: the run is of late fusion, which trains nothing.
    """
    _check_trains(run)
    flags = [f'--stage={_STAGES.get(run.stage, run.stage)}']
    chosen = _chosen(run)
    for column in _FLAG_COLUMNS:
        value = getattr(run, column)
        if value is None:
            value = chosen.get(column)
        if value is not None:
            flags.append(f'--{_FLAG_NAMES.get(column, column)}={value}')
    return flags


def data_of(run: Run) -> Data:
    """The datasets and the kind of manifest that a run reads (section 5.1); raises InputError as `flags_of`."""
    _check_trains(run)
    return _DATA[run.stage]


def predecessors(run: Run) -> Predecessors:
    """What a run starts from; raises InputError as `flags_of`."""
    _check_trains(run)
    if run.stage == 'pretrain':  # 6.1
        return Predecessors('faces' if run.model == 'vgg_face' else 'imagenet', None, None)
    restored = run.init_from.split(';') if run.init_from else []
    visual = [run_id for run_id in restored if run_id != run.audio_run]
    assert len(visual) <= 1, run
    return Predecessors(None, _chosen_visual(run) or (visual[0] if visual else None), run.audio_run)


def _check_trains(run: Run) -> None:
    if run.stage == LATE_FUSION:
        raise InputError(f'{run.run_id}: a run of late fusion; expected one that trains a network')
