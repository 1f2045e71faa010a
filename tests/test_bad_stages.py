# SPDX-License-Identifier: Apache-2.0
"""Bad input to the stages that use audio or restore runs gives one line that names the flag, or the file and line.

Nothing is written. Most tests call the function and expect an InputError. Two run the command and expect exit code 2.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from conftest import run, tiny_config, write_audio

from fer.errors import InputError
from fer.runs.checkpoints import latest_checkpoint
from fer.tf1 import tf
from fer.training.evaluate import evaluate
from fer.training.requests import EvaluationRequest
from fer.training.train import train

# All tests of this file run in one process, because they share runs. A warning would be a second line on the screen.
pytestmark = [
    pytest.mark.xdist_group(__name__),
    pytest.mark.usefixtures('quick_runs'),
    pytest.mark.filterwarnings('error::RuntimeWarning'),
]


@pytest.fixture
def data(painted_sound, tmp_path):
    """Returns a copy of the corpus that a test may damage."""
    return shutil.copytree(painted_sound, tmp_path / 'data')


@pytest.fixture(scope='module')
def parents(painted_sound, tmp_path_factory):
    """Returns a folder with a run each of audio_gru, ffn and temporal, named after their networks."""
    folder = tmp_path_factory.mktemp('parents')
    for stage, model in (('audio', 'audio_gru'), ('audio', 'ffn'), ('temporal', 'vgg_face')):
        settings = {'run_dir': folder / model, 'train_epochs': '1', 'max_steps': 1, 'val_manifest': ''}
        train(tiny_config(painted_sound, stage, model, **settings), resume=False, overwrite=False)
    return folder


def refusal(capfd, call, *arguments, **settings):
    """Calls a function that must raise an InputError of one line. Returns the line."""
    capfd.readouterr()
    with pytest.raises(InputError) as caught:
        call(*arguments, **settings)
    assert '\n' not in str(caught.value)
    assert capfd.readouterr() == ('', '')  # no progress and no warning of NumPy's before the line
    return str(caught.value)


def refuses(capfd, data, tmp_path, stage, model='vgg_face', **changes):
    def start():
        train(
            tiny_config(data, stage, model, **{'run_dir': tmp_path / 'run', **changes}), resume=False, overwrite=False
        )

    line = refusal(capfd, start)
    assert not (tmp_path / 'run').exists()
    return line


def edit_line(path, line, edit):
    lines = path.read_text().splitlines()
    lines[line - 1] = edit(lines[line - 1])
    path.write_text('\n'.join(lines) + '\n')


def clip(data, line, kind='clips', split='train'):
    """Returns the path of the audio CSV in a line of a manifest."""
    return data / (data / f'{split}_{kind}.txt').read_text().splitlines()[line - 1].split(',')[0]


def change_clip(data, line, values=lambda fields: fields, names=lambda fields: fields, kind='clips', split='train'):
    path = clip(data, line, kind, split)
    header, text = (row.split(',') for row in path.read_text().splitlines())
    path.write_text(f'{",".join(names(header))}\n{",".join(values(text))}\n')


def set_value(column, value):
    return lambda fields: [*fields[:column], value, *fields[column + 1 :]]


MANIFEST_DAMAGES = {
    'another number': (lambda text: text.replace('/00003.csv', '/00004.csv'), 'audio 00004 of train000 beside face 0'),
    'another id': (lambda text: text.replace('clips/train000', 'clips/train001'), 'audio 00003 of train001 beside'),
    'no audio': (lambda text: text.partition(',')[2], '2 columns (image, label); line 1 has 3 columns'),
    'no face': (lambda text: ','.join(text.split(',')[::2]), '2 columns (audio, label); line 1 has 3 columns'),
    'face first': (lambda text: ','.join([*text.split(',')[1::-1], '1000000']), 'expected [audio.csv,][face.jpg]'),
}


@pytest.mark.parametrize('damage', MANIFEST_DAMAGES)
def test_mismatched_audio_and_face_are_refused(capfd, data, tmp_path, damage):
    edit, expected = MANIFEST_DAMAGES[damage]
    edit_line(data / 'train_audiovisual.txt', 3, edit)
    line = refuses(capfd, data, tmp_path, 'early_fusion', fusion_option=1)
    assert line.startswith(f'{data}/train_audiovisual.txt:3: ')
    assert expected in line


@pytest.mark.parametrize(
    ('stage', 'model', 'manifest', 'expected'),
    [
        ('early_fusion', 'vgg_face', 'train.txt', 'train.txt:1: no audio in the line'),
        ('early_fusion', 'vgg_face', 'train_clips.txt', 'train_clips.txt:1: no image in the line'),
        ('temporal', 'vgg_face', 'train_clips.txt', 'train_clips.txt:1: no image in the line'),
        ('audio', 'audio_gru', 'train.txt', 'train.txt:1: no audio in the line'),
        ('audio', 'ffn', 'train_clips.txt', 'train_clips.txt:7: clips/train001/00001.csv has the name 00001, like'),
        ('audio', 'audio_gru', 'train_functionals.txt', 'train_functionals.txt:2: label Anger inside video functional'),
    ],
)
def test_manifest_of_another_stage_is_refused(capfd, data, tmp_path, stage, model, manifest, expected):
    extra = {'fusion_option': 1} if stage == 'early_fusion' else {}
    line = refuses(capfd, data, tmp_path, stage, model, train_manifest=data / manifest, **extra)
    assert line.startswith(f'{data}/{expected}')


def test_functionals_instead_of_clips_are_refused(capfd, data, tmp_path):
    path = data / 'train_functionals.txt'
    lines = [text.split(',')[0] + ',1000000' for text in path.read_text().splitlines()]
    path.write_text('\n'.join(lines))
    path.with_suffix('.ledger.csv').unlink()
    line = refuses(capfd, data, tmp_path, 'audio', 'audio_gru', train_manifest=path)
    assert line == f'{path}:1: {data}/functionals/train000.csv: 6552 features; expected 112'


CLIP_DAMAGES = {
    '111 values under 112 names': (lambda data: change_clip(data, 9, lambda v: v[:-1]), '111 values; expected 112'),
    'another order of features': (
        lambda data: change_clip(data, 9, names=lambda names: [names[1], names[0], *names[2:]]),
        'its header has other features than the first file',
    ),
    'NaN': (lambda data: change_clip(data, 9, set_value(41, 'nan')), 'feature_41 is nan; expected a finite number'),
    'infinity': (lambda data: change_clip(data, 9, set_value(7, '-inf')), 'feature_7 is -inf; expected a finite'),
    'beyond float32': (lambda data: change_clip(data, 9, set_value(7, '1e300')), 'feature_7 is inf; expected a finite'),
    'a word': (lambda data: change_clip(data, 9, set_value(7, 'loud')), 'loud'),
    'a missing file': (lambda data: clip(data, 9).unlink(), 'No such file or directory; expected an audio CSV'),
    'an empty file': (lambda data: clip(data, 9).write_text(''), '0 lines; expected a header and one line of values'),
    'a header alone': (lambda data: clip(data, 9).write_text('a,b\n'), '1 lines; expected a header and one line'),
    'bytes': (lambda data: clip(data, 9).write_bytes(bytes(range(256))), 'not UTF-8 text; expected an audio CSV'),
}


@pytest.mark.parametrize('damage', CLIP_DAMAGES)
def test_damaged_clip_is_refused(capfd, data, tmp_path, damage):
    spoil, expected = CLIP_DAMAGES[damage]
    path = clip(data, 9)
    spoil(data)
    line = refuses(capfd, data, tmp_path, 'audio', 'audio_gru')
    assert line.startswith(f'{data}/train_clips.txt:9: {path}: ')
    assert expected in line


def test_clips_of_111_values_are_refused(capfd, data, tmp_path):
    for line in range(1, len((data / 'train_clips.txt').read_text().splitlines()) + 1):
        change_clip(data, line, lambda values: values[:-1], lambda names: names[:-1])
    line = refuses(capfd, data, tmp_path, 'audio', 'audio_gru')
    assert line == f'{data}/train_clips.txt:1: {clip(data, 1)}: 111 features; expected 112'


def test_bad_validation_audio_is_refused(capfd, data, tmp_path):
    change_clip(data, 4, set_value(0, 'nan'), split='val')
    line = refuses(capfd, data, tmp_path, 'audio', 'audio_gru')
    assert line.startswith(f'{data}/val_clips.txt:4: ')
    for number in range(1, 21):
        change_clip(data, number, set_value(0, '1'), lambda names: ['loudness', *names[1:]], split='val')
    line = refuses(capfd, data, tmp_path, 'audio', 'audio_gru')
    assert line.startswith(f'{data}/val_clips.txt: ')
    assert 'loudness where the run has feature_0' in line
    both = f'{data}/train_clips.txt,{data}/val_clips.txt'
    line = refuses(capfd, data, tmp_path, 'audio', 'audio_gru', train_manifest=both)
    assert line.startswith(f'{data}/val_clips.txt: other audio features than {data}/train_clips.txt; ')


def test_nonfinite_audio_is_counted_and_replaced_by_mean(capfd, data, tmp_path):
    """Writing the mean of the other values by hand trains an equal network, except for rounding."""
    column = 41
    others = [float(clip(data, n).read_text().splitlines()[1].split(',')[column]) for n in range(1, 32) if n != 9]
    change_clip(data, 9, set_value(column, 'nan'))
    change_clip(data, 4, set_value(3, 'inf'), split='val')
    settings = {'nonfinite_audio': 'mean', 'max_steps': 1, 'train_epochs': '1', 'audio_scaling': 'minmax'}
    train(tiny_config(data, 'audio', 'audio_gru', run_dir=tmp_path / 'nan', **settings), resume=False, overwrite=False)
    out = capfd.readouterr().out
    assert out.count('1 NaN or infinite values of audio replaced by the mean') == 2
    change_clip(data, 9, set_value(column, f'{np.mean(others):.9g}'))
    train(tiny_config(data, 'audio', 'audio_gru', run_dir=tmp_path / 'mean', **settings), resume=False, overwrite=False)
    assert '1 NaN' in capfd.readouterr().out  # of validation
    found, expected = (tf.train.load_checkpoint(str(tmp_path / name)) for name in ('nan', 'mean'))
    for name in expected.get_variable_to_shape_map():
        np.testing.assert_allclose(found.get_tensor(name), expected.get_tensor(name), rtol=1e-4, atol=1e-6)


SETTINGS = {
    'option 5': ('early_fusion', {'fusion_option': 5}, '--fusion_option=5: expected one of 1, 2, 3, 4'),
    'option 2 without audio': ('early_fusion', {'fusion_option': 2}, '--fusion_option=2: expected --audio_run_dir'),
    'option 3 without audio': ('early_fusion', {'fusion_option': 3}, '--fusion_option=3: expected --audio_run_dir'),
    'option 4 without audio': ('early_fusion', {'fusion_option': 4}, '--fusion_option=4: expected --audio_run_dir'),
    'option 1 with a run': ('early_fusion', {'fusion_option': 1, 'audio_run_dir': 'x'}, '--audio_run_dir=x: expected'),
    'an audio run for faces': ('temporal', {'audio_run_dir': 'x'}, '--audio_run_dir=x: expected'),
    'no such run': ('early_fusion', {'audio_run_dir': 'nowhere'}, 'nowhere/flags.txt: No such file'),
    'text for units': ('audio', {'model': 'ffn', 'hidden_units': 'abc'}, '--hidden_units=abc: expected units'),
    'no units in a layer': ('audio', {'model': 'ffn', 'hidden_units': '6,0'}, '--hidden_units=6,0: expected units'),
    'no units': ('temporal', {'rnn_units': 0}, '--rnn_units=0: expected 1 to'),
    'no layers': ('temporal', {'rnn_layers': 0}, '--rnn_layers=0: expected 1 to'),
    'unknown cell': ('temporal', {'rnn_cell': 'elman'}, '--rnn_cell=elman: expected one of gru, lstm, rnn'),
    'stacks in one direction': ('temporal', {'bidirectional_kind': 'stacks'}, '--bidirectional_kind=stacks: expected'),
    'a kind of no attention': ('temporal', {'attention_kind': 'softmax'}, '--attention_kind=softmax: expected gate'),
    'attention without a recurrent network': (
        'early_fusion',
        {'fusion_option': 3, 'attention': True, 'attention_kind': 'softmax'},
        '--attention_kind=softmax: expected gate, except in a recurrent network with --attention',
    ),
    'a length for gates': ('temporal', {'attention': True, 'attention_length': 3}, '--attention_length=3: expected 40'),
    'no outputs to attend to': ('temporal', {'attention_length': 0}, '--attention_length=0: expected 1 to'),
    'pools of another network': ('temporal', {'model': 'resnet50', 'vgg_pooling': 'same'}, '--vgg_pooling=same: exp'),
    'fc6 without a recurrent network': ('finetune', {'fc6_dropout': 0.5}, '--fc6_dropout=0.5: expected'),
    'fc6 of another network': ('temporal', {'model': 'resnet50', 'fc6_dropout': 0.5}, '--fc6_dropout=0.5: expected'),
    'unknown augmentation': ('temporal', {'augment': 'foo'}, '--augment=foo: expected'),
    'augmented audio': ('audio', {'model': 'ffn', 'augment': 'flip'}, '--augment=flip: expected none for --stage=aud'),
    'noise on faces': ('temporal', {'audio_noise': 0.1}, '--audio_noise, --audio_time_mask: expected 0 for'),
    'a mask of everything': (
        'audio',
        {'model': 'audio_gru', 'audio_time_mask': 1.0},
        '--audio_time_mask=1.0: expected a share',
    ),
    'two phases for audio': (
        'audio',
        {'model': 'ffn', 'train_epochs': '1,1'},
        '--train_epochs=1,1: expected one phase',
    ),
    'fresh layers without weights': ('finetune', {'reinit_fc': True}, '--reinit_fc: expected'),
    'early stopping without validation': (
        'temporal',
        {'early_stopping': 2, 'val_manifest': ''},
        '--early_stopping=2: expected 0',
    ),
    'the best epoch without validation': (
        'temporal',
        {'keep_best': True, 'val_manifest': ''},
        '--keep_best: expected --val_manifest',
    ),
    'an answer of frames for stills': (
        'pretrain',
        {'video_answer': 'median', 'train_epochs': '1'},
        '--video_answer=median: stills have no windows of frames; leave the flag out',
    ),
    'an answer of windows for ffn': (
        'audio',
        {'model': 'ffn', 'video_answer': 'windows'},
        '--video_answer=windows: --model=ffn has no windows of frames; leave the flag out',
    ),
    'negative clipping': ('temporal', {'clip_norm': -1.0}, '--clip_norm=-1.0: expected 0'),
    'negative focal gamma': ('temporal', {'loss': 'focal', 'focal_gamma': -1.0}, '--focal_gamma=-1.0: expected'),
    'batch larger than the corpus': ('audio', {'model': 'ffn', 'batch_size': 9}, '--batch_size=9: more than the 8 win'),
    'stills as videos': ('finetune', {'train_manifest': 'stills_a/train.txt'}, 'has 1 frame; expected at least 2'),
}


@pytest.mark.parametrize('name', SETTINGS)
def test_bad_settings_are_refused(capfd, painted_sound, tmp_path, name):
    stage, changes, expected = SETTINGS[name]
    changes = dict(changes)
    if changes.get('train_manifest'):
        changes['train_manifest'] = painted_sound / changes['train_manifest']
    assert expected in refuses(capfd, painted_sound, tmp_path, stage, **changes)


@pytest.mark.parametrize(
    ('stage', 'model', 'expected'),
    [('audio', 'vgg_face', 'expected one of ffn, audio_gru for'), ('finetune', 'ffn', 'expected one of vgg_face, res')],
)
def test_network_of_another_stage_is_refused(capfd, painted_sound, tmp_path, stage, model, expected):
    config = tiny_config(painted_sound, 'temporal', run_dir=tmp_path / 'run')
    line = refusal(capfd, train, dataclasses.replace(config, stage=stage, model=model), resume=False, overwrite=False)
    assert line.startswith(f'--model={model}: {expected}')
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('flag', ['--fusion_option=5', '--stage=early', '--rnn_units=many', '--loss=hinge'])
def test_command_refuses_bad_flags(tmp_path, flag):
    done = run('train.py', flag, f'--run_dir={tmp_path / "run"}', ok=False)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, '', 1)
    assert flag.partition('=')[0].removeprefix('--') in done.err
    assert not (tmp_path / 'run').exists()


def test_command_refuses_damaged_clip(data, tmp_path):
    change_clip(data, 9, set_value(7, '1e300'))
    flags = ('--stage=audio', '--model=audio_gru', f'--train_manifest={data}/train_clips.txt', '--batch_size=2')
    done = run('train.py', *flags, f'--run_dir={tmp_path / "run"}', ok=False)
    assert (done.code, done.out) == (2, '')
    (line,) = done.err.splitlines()
    assert f'{data}/train_clips.txt:9: ' in line
    assert not (tmp_path / 'run').exists()


def test_restored_run_of_another_network_is_refused(capfd, painted_sound, parents, tmp_path):
    fused = {'fusion_option': 2, 'audio_run_dir': parents / 'audio_gru'}
    line = refuses(capfd, painted_sound, tmp_path, 'early_fusion', **{**fused, 'audio_run_dir': parents / 'ffn'})
    assert line == f'--audio_run_dir={parents}/ffn: a run of --model=ffn; expected one of --model=audio_gru'
    line = refuses(capfd, painted_sound, tmp_path, 'early_fusion', 'resnet50', **fused, init_from=parents / 'vgg_face')
    assert 'weights of vgg_face' in line
    assert 'expected weights of --model=resnet50' in line
    line = refuses(capfd, painted_sound, tmp_path, 'early_fusion', **fused, init_from=parents / 'audio_gru')
    assert str(parents / 'audio_gru') in line
    line = refuses(capfd, painted_sound, tmp_path, 'audio', 'ffn', init_from=parents / 'audio_gru')
    assert f'--init_from={parents}/audio_gru: no weights of ffn; expected a run of it' in line


def test_restored_run_of_other_sizes_is_refused(capfd, painted_sound, parents, tmp_path):
    settings = {'init_from': parents / 'vgg_face', 'rnn_units': 6}
    config = tiny_config(painted_sound, 'temporal', run_dir=tmp_path / 'run', **settings)
    line = refusal(capfd, train, config, resume=False, overwrite=False)
    assert 'vgg_face/model.ckpt-1: ' in line
    assert 'temporal' in line
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('which', ['init_from', 'audio_run_dir'])
def test_restored_run_of_another_class_order_is_refused(capfd, painted_sound, parents, tmp_path, which):
    folders = {'init_from': 'vgg_face', 'audio_run_dir': 'audio_gru'}
    origins = {flag: parents / name for flag, name in folders.items()}
    origins[which] = shutil.copytree(parents / folders[which], tmp_path / 'other')
    path = tmp_path / 'other' / 'class_counts.json'
    counts = json.loads(path.read_text())
    path.write_text(json.dumps(dict(sorted(counts.items()))))
    line = refuses(capfd, painted_sound, tmp_path, 'early_fusion', **origins)
    assert line.startswith(f'{path}: classes in the order Anger, Disgust, Fear, Happy, Neutral')


@pytest.mark.parametrize('missing', ['audio_scaling.txt', 'model.ckpt-*', 'flags.txt'])
def test_audio_run_with_missing_file_is_refused(capfd, painted_sound, parents, tmp_path, missing):
    other = shutil.copytree(parents / 'audio_gru', tmp_path / 'other')
    for path in list(other.glob(missing)):
        path.unlink()
    line = refuses(capfd, painted_sound, tmp_path, 'early_fusion', audio_run_dir=other)
    assert str(other) in line


def test_evaluation_refuses_other_features(capfd, data, parents, tmp_path):
    places = {'output': str(tmp_path / 'out'), 'run_dir': str(parents / 'audio_gru')}
    manifest = str(data / 'val_clips.txt')
    for changes, expected in (
        ({'manifest': str(data / 'val.txt')}, 'val.txt:1: no audio in the line'),
        ({'manifest': manifest, 'tta_views': 2}, '--tta_views=2: expected 1 for --stage=audio'),
        ({'manifest': manifest, 'checkpoint': 'best'}, 'no best checkpoint'),
        ({'manifest': f'{manifest},{manifest}'}, 'expected one manifest'),
    ):
        assert expected in refusal(capfd, evaluate, EvaluationRequest(**places, **changes))
    for number in range(1, 21):
        change_clip(data, number, names=lambda names: [*names[:50], names[51], names[50], *names[52:]], split='val')
    line = refusal(capfd, evaluate, EvaluationRequest(**places, manifest=manifest))
    assert line.startswith(f'{manifest}: 112 audio features: feature_51 where the run has feature_50; expected the 112')
    assert not (tmp_path / 'out').exists()


def test_nan_loss_in_second_epoch_names_the_file(data, tmp_path):
    """Audio without scaling, and one clip too loud for float32, make the loss NaN.

    The first epoch passes. Then a file is damaged and the run resumes.
    """
    run_dir = tmp_path / 'run'
    config = tiny_config(
        data, 'audio', 'ffn', run_dir=run_dir, audio_scaling='none', train_epochs='3', max_steps=2, dropout=0.0
    )
    train(config, resume=False, overwrite=False)
    good = latest_checkpoint(run_dir)
    assert good.endswith('model.ckpt-2')
    kept = {path: path.read_bytes() for path in run_dir.glob('model.ckpt-2*')}
    victim = clip(data, 5, 'functionals')
    loud = np.full(6552, 3e38)
    quiet = victim.read_bytes()
    write_audio(victim, loud)
    whole = dataclasses.replace(config, max_steps=0)
    with pytest.raises(InputError) as caught:
        train(whole, resume=True, overwrite=False)
    line = str(caught.value)
    assert '\n' not in line
    assert line.startswith(('step 3: ', 'step 4: '))
    assert f'{data}/train_functionals.txt:5-5 (train004)' in line
    assert line.count('train_functionals.txt:') == 1  # only the damaged file, no other of the batch
    assert f'last good checkpoint: {good}' in line
    assert latest_checkpoint(run_dir) == good
    assert {path: path.read_bytes() for path in kept} == kept
    reader = tf.train.load_checkpoint(good)
    assert all(np.isfinite(reader.get_tensor(name)).all() for name in reader.get_variable_to_shape_map())
    victim.write_bytes(quiet)
    train(whole, resume=True, overwrite=False)
    assert latest_checkpoint(run_dir).endswith('model.ckpt-6')


def test_too_large_steps_stop_the_run(painted_sound, tmp_path):
    """The data are fine, so the error names all windows of the batch. The last checkpoint is finite."""
    run_dir = tmp_path / 'run'
    settings = {'learning_rate': 1e37, 'train_epochs': '5', 'val_manifest': '', 'batch_size': 8, 'dropout': 0.0}
    with pytest.raises(InputError, match=r'^step \d+: the (loss is|gradients have norm) ') as caught:
        train(tiny_config(painted_sound, 'audio', 'ffn', run_dir=run_dir, **settings), resume=False, overwrite=False)
    step = int(str(caught.value).split(':')[0].removeprefix('step '))
    assert step > 1
    assert str(caught.value).endswith(f'last good checkpoint: {run_dir}/model.ckpt-{step - 1}')
    reader = tf.train.load_checkpoint(str(run_dir))
    assert all(np.isfinite(reader.get_tensor(name)).all() for name in reader.get_variable_to_shape_map())


def test_overflowing_moving_average_is_never_saved(data, tmp_path):
    """The loss stays finite, because a loud clip is divided by its own deviation. Evaluation divides by infinity."""
    write_audio(clip(data, 5, 'functionals'), np.full(6552, 1e22))
    settings = {'audio_scaling': 'none', 'batch_norm': True, 'dropout': 0.0, 'val_manifest': '', 'batch_size': 8}
    run_dir = tmp_path / 'run'
    with pytest.raises(InputError, match=r'^step 1: a variable is not finite; last good checkpoint: none yet$'):
        train(
            tiny_config(data, 'audio', 'ffn', run_dir=run_dir, train_epochs='1', **settings),
            resume=False,
            overwrite=False,
        )
    assert not run_dir.exists()
