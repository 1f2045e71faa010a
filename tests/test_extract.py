# SPDX-License-Identifier: Apache-2.0
"""Weights through the commands: train.py --init_from, the convention that its run keeps, and python -m fer.extract."""

import csv
import json
import shutil

import cv2
import numpy as np
import public_nets as public
import pytest
from conftest import run, tiny_flags
from safetensors.numpy import save_file
from test_weights import RESIDUAL, VGG, WIDTH, affwild_pixels, minus, save_checkpoint, torch_pixels

from fer.results.results_file import read_results

SIZE = 32  # of the painted faces, so that none is resized


@pytest.fixture(scope='module')
def hikapok(tmp_path_factory):
    """Makes weights of a narrow SE-ResNet-50, and the network."""
    net = public.random_residual(**RESIDUAL, squeeze_excite=True)
    return save_checkpoint(tmp_path_factory.mktemp('hikapok') / 'se_resnet50.ckpt', public.hikapok(net)), net


def hikapok_features(net, images):
    return public.run(public.residual, net, minus(images, (104, 117, 123), 'BGR'), 'conv1', 'same', 1e-5)


def lines(manifest):
    return [line.rpartition(',')[0] for line in manifest.read_text().splitlines()]


def read_images(folder, names):
    """Returns images, float32 [N, H, W, 3] in [-1, 1]."""
    images = [cv2.imread(str(folder / name))[..., ::-1] for name in names]
    return np.array(images, np.float32) / 127.5 - 1


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def extract(output, *flags):
    done = run('-m', 'fer.extract', f'--output={output}', *flags)
    with np.load(output) as file:
        return dict(file), done.out


def refused(*arguments):
    done = run(*arguments, ok=False)
    assert done.code == 2, (done.code, done.out, done.err)
    (line,) = done.err.splitlines()
    return line


def test_public_weights_are_extracted(painted, tmp_path):
    net = public.random_residual(**RESIDUAL)
    save_file(public.torch_residual(net), tmp_path / 'resnet50.bin')  # recognised by content, not by name
    flags = (f'--init_from={tmp_path / "resnet50.bin"}', f'--width={WIDTH}', f'--image_size={SIZE}')
    flags += (f'--manifest={painted / "val.txt"}', '--batch_size=7')
    found, out = extract(tmp_path / 'deep' / 'val.npz', '--model=resnet50', *flags)
    assert 'torchvision resnet50' in out
    names = lines(painted / 'val.txt')
    assert found['path'].tolist() == names
    assert found['video_id'].tolist() == [name.split('/')[1] for name in names]
    images = read_images(painted, names)
    expected = public.run(public.residual, net, torch_pixels(images), 'conv2', 'around', 1e-5)
    assert found['features'].dtype == found['logits'].dtype == np.float32
    assert_close(found['features'], expected)
    weights, biases = net['classifier']
    assert_close(found['logits'], expected @ weights + biases)
    flat, _ = extract(tmp_path / 'flat.npz', *flags, '--image_size=64', '--global_pool=False', '--item=still')
    assert flat['features'].shape == (len(names), 2 * 2 * 128)
    assert flat['logits'].shape == (len(names), 0)  # the classifier needs averaged features
    assert flat['video_id'].tolist() == [name.rpartition('.')[0] for name in names]
    line = refused('-m', 'fer.extract', '--model=densenet121', f'--output={tmp_path / "no.npz"}', *flags)
    assert 'weights of resnet50' in line
    assert not (tmp_path / 'no.npz').exists()


def test_images_that_cannot_be_read_have_no_row(painted, tmp_path, hikapok):
    manifest = tmp_path / 'faces' / 'val.txt'
    shutil.copytree(painted / 'faces', tmp_path / 'faces' / 'faces')
    shutil.copy(painted / 'val.txt', manifest)
    names = lines(manifest)
    (tmp_path / 'faces' / names[3]).write_bytes(b'not an image')
    (tmp_path / 'faces' / names[5]).unlink()
    flags = (f'--init_from={hikapok[0]}', f'--width={WIDTH}', f'--image_size={SIZE}', f'--manifest={manifest}')
    output = tmp_path / 'val.npz'
    assert f'{manifest}:4' in refused('-m', 'fer.extract', *flags, f'--output={output}')
    line = refused('-m', 'fer.extract', *flags, f'--output={output}', '--on_bad_frame=skip')
    assert f'2 of {len(names)} frames are bad' in line
    assert not output.exists()
    found, out = extract(output, *flags, '--on_bad_frame=skip', '--max_bad_fraction=0.5')
    table = tmp_path / 'val.bad_frames.csv'
    assert f'{table}: 2 bad frames left out' in out
    rows = list(csv.DictReader(table.open()))
    assert [row['line'] for row in rows] == ['4', '6']
    assert 'not a JPEG or PNG image' in rows[0]['reason']
    assert 'No such file' in rows[1]['reason']
    whole = names[:3] + names[4:5] + names[6:]
    assert found['path'].tolist() == whole
    assert_close(found['features'], hikapok_features(hikapok[1], read_images(painted, whole)))
    extract(output, *flags, f'--manifest={painted / "val.txt"}')
    assert not table.exists()


@pytest.mark.slow
def test_fresh_weights_give_features_only_on_request(painted, tmp_path):
    """The manifest has audio and faces without labels. Extraction ignores the audio."""
    net = public.random_vgg(**VGG, map_size=1)
    save_checkpoint(tmp_path / 'model.ckpt', public.affwild(net, recurrent=True))
    faces = lines(painted / 'val.txt')
    clips = [name.replace('faces/', 'clips/').replace('.jpg', '.csv') for name in faces]
    manifest = tmp_path / 'val_audiovisual.txt'
    manifest.write_text('\n'.join(map(','.join, zip(clips, faces, strict=True))))
    flags = (f'--init_from={tmp_path / "model.ckpt"}', f'--width={WIDTH}', f'--manifest={manifest}')
    flags += (f'--data_root={painted}',)
    found, _ = extract(tmp_path / 'val.npz', *flags, f'--image_size={SIZE}')
    assert found['path'].tolist() == faces
    images = read_images(painted, faces)
    assert_close(found['features'], public.run(public.vgg, net, affwild_pixels(images), 'SAME'))
    assert found['logits'].shape[1] == 0  # these weights have neither fc7 nor fc8
    line = refused(
        '-m', 'fer.extract', f'--output={tmp_path / "no.npz"}', *flags
    )  # at 96 pixels, the size of the weights
    assert 'vgg_face/fc6/weights' in line
    assert '--image_size=96' in line
    assert not (tmp_path / 'no.npz').exists()


@pytest.mark.slow
def test_a_run_keeps_the_convention_of_its_weights(painted, tmp_path, hikapok):
    path, net = hikapok
    run_dir = tmp_path / 'run'
    flags = (*tiny_flags(painted), '--val_manifest=', '--model=se_resnet50', f'--width={WIDTH}', '--global_pool')
    done = run('train.py', *flags, f'--init_from={path}', f'--run_dir={run_dir}', '--max_steps=1')
    assert '329 of 331 variables restored, 2 fresh (HiKapok se_resnet50' in done.out
    assert 'BGR, (pixel - (104, 117, 123)) / (1, 1, 1)' in done.out
    report = (run_dir / 'restored.txt').read_text()
    assert 'se_resnet50/block1/unit_1/conv1/weights\t[1, 1, 4, 4]\trestored: conv2_1_1x1_reduce/kernel\n' in report
    assert 'se_resnet50/logits/biases\t[7]\tfresh: of other classes, of 128 inputs and 5 units in HiKapok' in report
    assert json.loads((run_dir / 'convention.json').read_text())['order'] == 'BGR'
    # Phase one moved only the classifier, so the features are still those of the source.
    found, _ = extract(tmp_path / 'val.npz', f'--init_from={run_dir}', f'--manifest={painted / "val.txt"}')
    assert_close(found['features'], hikapok_features(net, read_images(painted, lines(painted / 'val.txt'))))
    run('evaluate.py', f'--run_dir={run_dir}', f'--manifest={painted / "val.txt"}')
    results = read_results(run_dir / 'results_val.txt')
    for video in ('val000', 'val008'):  # the mean over all frames of a video
        expected = found['logits'][found['video_id'] == video].mean(0)
        assert_close(results.logits[results.video_ids.index(video)], expected)
    done = run('train.py', *flags, f'--init_from={path}', f'--run_dir={run_dir}', '--max_steps=2', '--resume')
    assert 'resumed from' in done.out
    child = tmp_path / 'child'
    done = run('train.py', *flags, f'--init_from={run_dir}', f'--run_dir={child}', '--max_steps=1')
    assert '331 of 331 variables restored, 0 fresh (this project' in done.out
    assert json.loads((child / 'convention.json').read_text())['mean'] == [104, 117, 123]


def test_input_convention_of_the_dissertation(painted, tmp_path, hikapok):
    """The network of the source gets RGB in [-1, 1]."""
    path, net = hikapok
    flags = (f'--init_from={path}', f'--width={WIDTH}', f'--image_size={SIZE}', '--input_convention=dissertation')
    found, out = extract(tmp_path / 'val.npz', *flags, f'--manifest={painted / "val.txt"}')
    assert 'RGB, (pixel - (127.5, 127.5, 127.5)) / (127.5, 127.5, 127.5)' in out
    images = read_images(painted, lines(painted / 'val.txt'))
    assert_close(found['features'], public.run(public.residual, net, images, 'conv1', 'same', 1e-5))


@pytest.mark.slow
def test_missing_weights_need_allow_missing(painted, tmp_path, hikapok):
    _, net = hikapok
    values = public.hikapok(net)
    del values['conv3_2_3x3/kernel']
    values['conv3_2_3x3/bn/beta'] = np.zeros(9, np.float32)
    values['conv9_1/kernel'] = np.zeros(3, np.float32)
    path = save_checkpoint(tmp_path / 'model.ckpt', values)
    flags = (*tiny_flags(painted), '--model=se_resnet50', f'--width={WIDTH}', '--global_pool', f'--init_from={path}')
    flags += (f'--run_dir={tmp_path / "run"}', '--max_steps=1')
    line = refused('train.py', *flags)
    for text in (
        'se_resnet50/block2/unit_2/conv2/weights [3, 3, 8, 8]: no conv3_2_3x3/kernel in the file',
        'its shape there is [9]',
        'conv9_1/kernel [3] in the file: no variable matches it',
    ):
        assert text in line
    assert not (tmp_path / 'run').exists()
    done = run('train.py', *flags, '--allow_missing')
    assert '327 of 331 variables restored, 2 fresh, 2 mismatched, 1 tensors unused' in done.out
    report = (tmp_path / 'run' / 'restored.txt').read_text()
    assert 'conv2/weights\t[3, 3, 8, 8]\tmismatched: no conv3_2_3x3/kernel in the file' in report
    assert '# unused: conv9_1/kernel' in report


@pytest.mark.parametrize(
    ('flag', 'says'),
    [
        ('--batch_size=0', '--batch_size=0'),
        ('--width=-1', '--width=-1'),
        ('--image_size=16', '--image_size=16: expected at least 32'),
        ('--output=.', '--output=.: a folder'),
        ('--init_from=nowhere', 'no checkpoint or file there'),
        ('--manifest=nowhere.txt', 'nowhere.txt'),
    ],
)
def test_extract_refuses_bad_flags(painted, tmp_path, hikapok, flag, says):
    flags = (f'--init_from={hikapok[0]}', f'--width={WIDTH}', f'--manifest={painted / "val.txt"}')
    line = refused('-m', 'fer.extract', *flags, f'--output={tmp_path / "no.npz"}', flag)
    assert says in line
    assert not (tmp_path / 'no.npz').exists()
