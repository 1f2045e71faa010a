# SPDX-License-Identifier: Apache-2.0
"""Bad input ends with one line that names the place and the fault, exit code 2, no traceback and nothing written."""

import shutil

import pytest
from conftest import run, tiny_flags

# Tests share a run, so one of pytest-xdist's processes runs them all.
pytestmark = pytest.mark.xdist_group(__name__)


@pytest.fixture
def data(painted, tmp_path):
    """Makes a copy of the painted corpus that a test may damage."""
    return shutil.copytree(painted, tmp_path / 'data')


@pytest.fixture(scope='module')
def one_step(painted, tmp_path_factory):
    """Makes a run of one step."""
    run_dir = tmp_path_factory.mktemp('one_step') / 'run'
    run('train.py', *tiny_flags(painted), f'--run_dir={run_dir}', '--max_steps=1')
    return run_dir


def refused(*arguments):
    """Runs a command that must refuse its input, and returns its one line."""
    done = run(*arguments, ok=False)
    assert done.code == 2, (done.code, done.out, done.err)
    assert done.out == ''
    (line,) = done.err.splitlines()
    return line


def frame(data, line, split='train'):
    """Returns the path of the image in a line of a manifest."""
    return data / (data / f'{split}.txt').read_text().splitlines()[line - 1].split(',')[0]


def replace_line(data, line, text, split='train'):
    path = data / f'{split}.txt'
    lines = path.read_text().splitlines()
    lines[line - 1] = text.replace('{image}', lines[line - 1].split(',')[0])
    path.write_text('\n'.join(lines))


def missing_image(data):
    frame(data, 9).unlink()


def truncated_jpeg(data):
    path = frame(data, 9)
    path.write_bytes(path.read_bytes()[:300])


def text_called_jpg(data):
    frame(data, 9).write_text('not an image at all')


def bad_validation_image(data):
    frame(data, 9, 'val').unlink()


DAMAGES = {
    'missing image': (missing_image, 'train.txt:9: ', 'No such file'),
    'truncated JPEG': (truncated_jpeg, 'train.txt:9: ', 'truncated JPEG'),
    'text called .jpg': (text_called_jpg, 'train.txt:9: ', 'not a JPEG'),
    'missing validation image': (bad_validation_image, 'val.txt:9: ', 'No such file'),
    'label with two ones': (lambda data: replace_line(data, 9, '{image},0110000'), 'train.txt:9: ', 'single 1'),
    'label of six digits': (lambda data: replace_line(data, 9, '{image},010000'), 'train.txt:9: ', '7 digits'),
    'label of letters': (lambda data: replace_line(data, 9, '{image},Happy'), 'train.txt:9: ', '7 digits'),
    'other column count': (lambda data: replace_line(data, 9, '{image}'), 'train.txt:9: ', 'line 1 has'),
    'empty manifest': (lambda data: (data / 'train.txt').write_text(''), 'train.txt: ', 'no lines'),
    'missing manifest': (lambda data: (data / 'train.txt').unlink(), 'train.txt: ', 'No such file'),
    'a video of one frame': (
        lambda data: (data / 'val.txt').write_text((data / 'val.txt').read_text().splitlines()[0]),
        'val.txt:1: ',
        'has 1 frame',
    ),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_train_refuses_bad_data(data, tmp_path, damage):
    spoil, where, what = DAMAGES[damage]
    spoil(data)
    line = refused('train.py', *tiny_flags(data), f'--run_dir={tmp_path / "run"}')
    assert f'{data}/{where}' in line
    assert what in line
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('flag', 'says'),
    [
        ('--seq_len=0', '--seq_len=0: expected 1 to'),
        ('--model=resnet34', '--model=resnet34: expected one of vgg_face, resnet50'),
        ('--train_epochs=5,x', '--train_epochs=5,x'),
        ('--image_size=16', '--image_size=16: expected at least 32'),
        ('--width=0', '--width=0'),
        ('--width=inf', '--width=inf'),
        ('--seed=-1', '--seed=-1'),
        ('--run_dir=setup.py/run', 'setup.py'),
        ('--stage=dance', 'stage=dance'),
        ('--seq_len=many', 'seq_len=many'),
        ('--no_such_flag=1', 'no_such_flag'),
        ('--init_from=nowhere', 'no checkpoint'),
        ('extra', 'extra'),
    ],
)
def test_train_refuses_bad_flags(painted, tmp_path, flag, says):
    line = refused('train.py', *tiny_flags(painted), f'--run_dir={tmp_path / "run"}', flag)
    assert says in line
    assert not (tmp_path / 'run').exists()


def test_a_run_is_not_overwritten_without_overwrite(painted, one_step, tmp_path):
    run_dir = shutil.copytree(one_step, tmp_path / 'run')
    command = ('train.py', *tiny_flags(painted), f'--run_dir={run_dir}', '--max_steps=1')
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    line = refused(*command)
    assert '--resume' in line
    assert '--overwrite' in line
    line = refused(*command, '--resume', '--seq_len=9')
    assert '--seq_len=9 (7)' in line
    assert {path.name: path.read_bytes() for path in run_dir.iterdir()} == before
    run(*command, '--overwrite')
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'thesis.doc').write_text('precious')
    line = refused('train.py', *tiny_flags(painted), f'--run_dir={tmp_path / "other"}', '--overwrite')
    assert 'no flags.txt' in line
    assert (tmp_path / 'other' / 'thesis.doc').read_text() == 'precious'


def test_resume_without_its_checkpoint_is_refused(painted, one_step, tmp_path):
    run_dir = shutil.copytree(one_step, tmp_path / 'run')
    (run_dir / 'model.ckpt-1.index').unlink()
    line = refused('train.py', *tiny_flags(painted), f'--run_dir={run_dir}', '--max_steps=1', '--resume')
    assert 'no complete checkpoint' in line
    assert (run_dir / 'train_log.csv').exists()


def test_evaluate_refuses_bad_input(painted, data, one_step, tmp_path):
    run_dir = shutil.copytree(one_step, tmp_path / 'run')
    assert 'flags.txt' in refused('evaluate.py', f'--run_dir={tmp_path}', f'--manifest={painted / "val.txt"}')
    for flag in ('--split=a/b', '--batch_size=-1', '--output=setup.py'):
        assert flag in refused('evaluate.py', f'--run_dir={run_dir}', f'--manifest={painted / "val.txt"}', flag)
    truncated_jpeg(data)
    line = refused('evaluate.py', f'--run_dir={run_dir}', f'--manifest={data / "train.txt"}', '--split=train')
    assert f'{data}/train.txt:9: ' in line
    assert not (run_dir / 'results_train.txt').exists()
    (weights,) = run_dir.glob('model.ckpt-1.data*')
    weights.write_bytes(weights.read_bytes()[:1000])
    assert 'model.ckpt-1' in refused('evaluate.py', f'--run_dir={run_dir}', f'--manifest={painted / "val.txt"}')


def test_an_image_damaged_in_the_middle_is_named(data, tmp_path):
    """The ends of the file are whole, so that only the decoder finds the damage."""
    path = frame(data, 9)
    content = path.read_bytes()
    path.write_bytes(content[:20] + bytes(len(content) - 40) + content[-20:])
    done = run('train.py', *tiny_flags(data), f'--run_dir={tmp_path / "run"}', ok=False)
    assert done.code == 2
    assert 'Traceback' not in done.err
    line = done.err.splitlines()[-1]  # after a line of libjpeg
    assert f'{data}/train.txt:9: ' in line
    assert 'cannot be decoded' in line
    assert not (tmp_path / 'run').exists()
