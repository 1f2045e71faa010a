# SPDX-License-Identifier: Apache-2.0
"""Settings as fields: their texts, values, ranges and descriptions, and the flags that are made from them."""

import dataclasses
from dataclasses import dataclass

import pytest
from absl import flags

from fer.data.audio import SCALINGS
from fer.data.augmentation import KINDS, VIEWS
from fer.data.sampling import AUGMENTED, SAMPLINGS
from fer.errors import InputError
from fer.extract.request import ExtractionRequest
from fer.flags import define_flags, read_flags
from fer.nets.cells import CELLS
from fer.nets.early_fusion import OPTIONS
from fer.runs.config import TrainConfig, read_flagfile, write_flagfile
from fer.settings import check_values, describe_settings, format_values, parse_values, setting, settings_of, split_paths
from fer.training.requests import EvaluationRequest

TRAIN = settings_of(TrainConfig)


@dataclass(frozen=True, kw_only=True)
class Garden:
    """A class of settings with one field of every kind."""

    name: str = setting('Name of the garden.', section='1.2')
    beds: int = setting('Beds.', 3, at_least=1, at_most=9, noun='beds', choices={0: 'none'})
    share: float = setting('Share of grass.', 0.5, at_least=0, below=1, noun='a share')
    kind: str = setting('Kind.', 'wild', choices={'wild': 'as it grows', 'neat': ''})
    trees: tuple[str, ...] = setting('Trees.', (), choices=dict.fromkeys(('oak', 'elm'), ''))
    rows: tuple[int, ...] = setting('Rows.', (4,), at_least=1, fewest=1, most=2, expected='one or two rows')
    is_open: bool = setting('Whether visitors may come.', False)
    height: int | None = setting('Height of the fence.', None, at_least=1, noun='metres', by_default='as the wall')


def read(*words):
    values = flags.FlagValues()
    define_flags(Garden, values)
    values(['garden', *words])
    return read_flags(Garden, values)


def test_flags_become_values():
    words = ('--beds=0', '--share=0.25', '--kind=neat', '--trees=elm, oak', '--rows=2,3', '--is_open', '--height=7')
    found = read('--name=a,b', *words)
    assert found == Garden(
        name='a,b', beds=0, share=0.25, kind='neat', trees=('elm', 'oak'), rows=(2, 3), is_open=True, height=7
    )
    assert read('--name=x') == Garden(name='x')
    assert read('--name=x', '--trees=all', '--nois_open').trees == ('oak', 'elm')


def test_a_setting_without_default_is_required():
    with pytest.raises(flags.IllegalFlagValueError, match='--name must have a value'):
        read()


@pytest.mark.parametrize(
    ('word', 'expected'),
    [
        ('--beds=10', '0 (none), or 1 to 9 beds'),
        ('--beds=many', '0 (none), or 1 to 9 beds'),
        ('--share=1.0', 'a share of at least 0 and below 1'),
        ('--share=nan', 'a share of at least 0 and below 1'),
        ('--kind=odd', 'one of wild, neat'),
        ('--trees=oak,oak', 'all, or a comma list of oak, elm, each at most once'),
        ('--trees=oak,', 'all, or a comma list of oak, elm, each at most once'),
        ('--rows=', 'one or two rows'),
        ('--rows=1,2,3', 'one or two rows'),
        ('--rows=1,0', 'one or two rows'),
        ('--is_open=perhaps', 'True or False'),
        ('--height=0', '1 or more metres'),
    ],
)
def test_a_bad_flag_names_what_is_expected(word, expected):
    with pytest.raises(InputError) as error:
        read('--name=x', word)
    assert str(error.value) == f'{word}: expected {expected}'


def test_values_and_texts_are_inverse():
    garden = Garden(name='x', trees=('oak', 'elm'), rows=(2, 3), is_open=True, height=2)
    texts = format_values(garden)
    assert texts['trees'] == 'all'
    assert (texts['rows'], texts['is_open'], texts['share']) == ('2,3', 'True', '0.5')
    assert Garden(**parse_values(Garden, texts)) == garden


def test_values_are_checked_like_texts():
    check_values(Garden(name='x'))
    with pytest.raises(InputError, match=r'--rows=1,2,3: expected one or two rows'):
        check_values(Garden(name='x', rows=(1, 2, 3)))
    with pytest.raises(InputError, match=r'--share=inf: expected a share'):
        check_values(Garden(name='x', share=float('inf')))


def test_help_has_purpose_values_default_and_section():
    found = {name: one.describe() for name, one in settings_of(Garden).items()}
    assert found['name'] == 'Name of the garden. Dissertation: 1.2.'
    assert found['beds'] == 'Beds. Values: 0 (none), or 1 to 9 beds.'
    assert found['kind'] == 'Kind. Values: wild (as it grows), neat.'
    assert found['height'] == 'Height of the fence. Values: 1 or more metres. Default: as the wall.'


def test_the_table_of_flags_has_every_flag():
    rows = {row.flag: row for row in describe_settings(TrainConfig)}
    assert list(rows) == [f'--{name}' for name in TRAIN]
    assert rows['--seq_len'][1:4] == ('80', '1 to 100000 frames', '6.2')
    assert rows['--batch_size'].default == '64 in pretrain, 16 in audio, 4 in other stages'
    assert {row.flag for row in describe_settings(EvaluationRequest) if row.default == 'required'} == {
        '--manifest',
        '--run_dir',
    }
    assert not [
        row.flag
        for kind in (TrainConfig, EvaluationRequest, ExtractionRequest)
        for row in describe_settings(kind)
        if not row.help.endswith('.')
    ]


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('loss', 'hinge'),
        ('class_weights', 'inverse'),
        ('focal_gamma', -1.0),
        ('island_weight', float('nan')),
        ('island_pair_weight', float('inf')),
        ('locality_weight', -0.1),
        ('locality_neighbours', 0),
        ('l2', -1e-4),
        ('intra_op_threads', 4097),
        ('train_manifest', ()),
        ('train_epochs', (5, -1)),
        ('augment', ('zoom',)),
        ('fusion_option', 5),
    ],
)
def test_train_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f'--{name}='):
        TRAIN[name].check(value)


def test_every_default_of_training_is_allowed():
    check_values(dataclasses.replace(TrainConfig(), train_manifest=('train.txt',)))


@pytest.mark.parametrize(
    ('text', 'kinds'),
    [('', ()), (' ', ()), ('all', KINDS), ('flip', ('flip',)), ('colour, crop,flip', ('colour', 'crop', 'flip'))],
)
def test_augmentations_are_parsed(text, kinds):
    assert TRAIN['augment'].parse(text) == kinds


@pytest.mark.parametrize('text', ['zoom', 'flip,zoom', 'flip,', 'all,flip', 'flip,crop,flip', 'Flip', 'flip;crop', ','])
def test_unknown_augmentations_are_refused(text):
    with pytest.raises(InputError, match=f'--augment={text}: expected all, or a comma list of flip, crop'):
        TRAIN['augment'].check(TRAIN['augment'].parse(text))


def test_choices_are_those_of_the_code():
    assert tuple(TRAIN['audio_scaling'].choices) == SCALINGS
    assert tuple(TRAIN['augment'].choices) == KINDS
    assert tuple(TRAIN['rnn_cell'].choices) == tuple(CELLS)
    assert tuple(TRAIN['sampling'].choices) == SAMPLINGS
    assert tuple(TRAIN['augment_windows'].choices) == AUGMENTED
    assert tuple(TRAIN['fusion_option'].choices) == tuple(OPTIONS)
    assert settings_of(EvaluationRequest)['tta_views'].at_most == len(VIEWS)


def test_flags_txt_has_every_setting_as_text(tmp_path):
    config = TrainConfig(
        train_manifest=('/a/train.txt', '/b/train.txt'), train_epochs=(5, 25), augment=KINDS, global_pool=True,
        initialiser='fan_out', batch_size=4, clip_norm=1e-7,
    )  # fmt: skip
    write_flagfile(tmp_path / 'flags.txt', config)
    lines = (tmp_path / 'flags.txt').read_text().splitlines()
    assert len(lines) == len(TRAIN)
    for line in (
        *('--model=vgg_face', '--train_manifest=/a/train.txt,/b/train.txt', '--val_manifest=', '--train_epochs=5,25'),
        *('--augment=all', '--hidden_units=1024', '--clip_norm=1e-07', '--xla=False', '--fusion_option=2'),
    ):
        assert line in lines
    assert read_flagfile(tmp_path / 'flags.txt') == config


def test_a_file_with_a_comma_is_one_path(tmp_path):
    path = tmp_path / 'a,b.txt'
    assert split_paths(f'{path}') == (str(tmp_path / 'a'), 'b.txt')
    path.touch()
    assert split_paths(f'{path}') == (str(path),)
    assert split_paths(' a , ,b ') == ('a', 'b')
    assert split_paths('') == ()
