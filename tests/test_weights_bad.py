# SPDX-License-Identifier: Apache-2.0
"""Bad files of weights end in an error of one line."""

import json
import pickle
import struct
import sys
import zipfile

import h5py
import numpy as np
import public_nets as public
import pytest
import scipy.io
from conftest import ROOT, run, tiny_flags
from safetensors.numpy import save, save_file
from test_weights import RESIDUAL, VGG, WIDTH, matlab_cell, save_checkpoint

from fer.errors import InputError
from fer.nets.se_resnet import CAFFE
from fer.nets.weights import reader_process
from fer.nets.weights.convention_file import read_convention, write_convention
from fer.nets.weights.files import open_tensors
from fer.nets.weights.identify import open_weights
from fer.tf1 import tf
from fer.training.restore import open_init_weights


@pytest.fixture(scope='module')
def state():
    return public.torch_residual(public.random_residual(**RESIDUAL))


def complaint(path):
    """Returns the one line that opening a bad file ends in."""
    with pytest.raises(InputError) as caught:
        open_weights(str(path))
    (line,) = str(caught.value).splitlines()
    assert str(path) in line
    return line


def test_missing_and_empty_files_are_refused(tmp_path):
    assert 'no checkpoint or file there' in complaint(tmp_path / 'nowhere.h5')
    (tmp_path / 'empty.safetensors').touch()
    assert 'empty file' in complaint(tmp_path / 'empty.safetensors')
    (tmp_path / 'folder').mkdir()
    assert 'no checkpoint in this folder' in complaint(tmp_path / 'folder')
    (tmp_path / 'text.ckpt').write_text('not weights at all')
    assert "no format of weights begins with b'not weig'" in complaint(tmp_path / 'text.ckpt')


def wrong_headers(state):
    """Returns {fault: bytes} of safetensors files."""
    whole = save({name: state[name] for name in sorted(state)[:3]})
    (length,) = struct.unpack('<Q', whole[:8])
    header, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]

    def with_header(text, length=None):
        text = text.encode() if isinstance(text, str) else text
        return struct.pack('<Q', len(text) if length is None else length) + text + body

    names = sorted(header)
    overlapping = json.loads(json.dumps(header))
    overlapping[names[1]]['data_offsets'] = overlapping[names[0]]['data_offsets']
    beyond = json.loads(json.dumps(header))
    beyond[names[0]]['data_offsets'][1] += 4000
    other_shape = json.loads(json.dumps(header))
    other_shape[names[0]]['shape'] = [1000, 1000]
    text = json.dumps(header)
    return {
        'longer than the file': with_header(text, len(whole) * 2),
        'longer than any': with_header(text, 2**60),
        'shorter than it is': with_header(text, 20),
        'reaching into the data': with_header(text, length + 5),
        'not JSON': with_header('{this is not JSON}'),
        'overlapping': with_header(json.dumps(overlapping)),
        'beyond the file': with_header(json.dumps(beyond)),
        'another shape': with_header(json.dumps(other_shape)),
        'cut data': whole[:-7],
        'more data': whole + b'1234',
    }


def test_wrong_safetensors_headers_are_refused(tmp_path, state):
    for how, content in wrong_headers(state).items():
        path = tmp_path / f'{how}.safetensors'
        path.write_bytes(content)
        assert 'not a whole safetensors file' in complaint(path), how
    header = json.dumps({'x': {'dtype': 'BF16', 'shape': [6], 'data_offsets': [0, 12]}}).encode()
    (tmp_path / 'x').write_bytes(struct.pack('<Q', len(header)) + header + bytes(12))
    assert 'BF16' in complaint(tmp_path / 'x')


def test_truncated_checkpoints_are_refused(tmp_path):
    values = public.hikapok(public.random_residual(**RESIDUAL, squeeze_excite=True))
    for name, version in (('new', tf.train.SaverDef.V2), ('old', tf.train.SaverDef.V1)):
        path = save_checkpoint(tmp_path / name, values, write_version=version)
        weights = open_weights(str(path))
        assert open_weights(str(path)).source.name == 'HiKapok se_resnet50'
        assert weights.tensors.read('dense/bias').shape == (5,)
    (data,) = tmp_path.glob('new.data-*')
    data.write_bytes(data.read_bytes()[:-9000])
    last = 'dense/kernel'  # names are sorted, and data follow their order
    damaged = open_weights(str(tmp_path / 'new'))
    with pytest.raises(InputError, match=f'{last} cannot be read, the checkpoint is damaged'):
        damaged.tensors.read(last)
    index = tmp_path / 'new.index'
    index.write_bytes(index.read_bytes()[:500])
    assert 'not a readable TensorFlow checkpoint' in complaint(tmp_path / 'new')
    old = tmp_path / 'old'
    old.write_bytes(old.read_bytes()[:3000])
    assert 'the file is cut' in complaint(old)


def test_files_named_h5_without_weights_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / 'model.h5', 'w') as archive:
        archive.writestr('weights', 'x' * 100)
    assert 'a zip archive' in complaint(tmp_path / 'model.h5')
    with zipfile.ZipFile(tmp_path / 'model.keras', 'w') as archive:
        archive.writestr('model.weights.h5', 'x' * 100)
    assert 'unzip' in complaint(tmp_path / 'model.keras')
    with h5py.File(tmp_path / 'data.h5', 'w') as file:
        file['x'] = np.zeros((300, 300))
    assert "without a Keras model's weights" in complaint(tmp_path / 'data.h5')
    content = (tmp_path / 'data.h5').read_bytes()
    (tmp_path / 'head.h5').write_bytes(content[:9])
    assert 'not a readable HDF5 file' in complaint(tmp_path / 'head.h5')
    (tmp_path / 'cut.h5').write_bytes(content[: len(content) // 2])
    assert 'not a readable HDF5 file' in complaint(tmp_path / 'cut.h5')


def test_crashing_hanging_and_overflowing_readers_are_refused(tmp_path, monkeypatch):
    """A reader in place of h5py's crashes, hangs or fills the memory of its process, as a damaged file may."""
    path = tmp_path / 'x.h5'
    with h5py.File(path, 'w') as file:
        file['x'] = np.zeros(3)
    module = tmp_path / 'fer_bad_reader.py'
    monkeypatch.setattr(reader_process, '_COMMAND', (sys.executable, str(module)))
    start = f'import sys; sys.path[:0] = [{str(ROOT)!r}]\nfrom fer.nets.weights import keras_hdf5, reader_process\n'
    for fault, expected in (
        ('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)', 'SIGSEGV'),
        ('while True: pass', 'SIGXCPU'),
        ('bytearray(2**33)', 'MemoryError'),
        ('import os; os._exit(3)', 'reading failed'),
    ):
        module.write_text(
            f'{start}def read_content(path):\n    {fault}\n'
            'keras_hdf5.read_content = read_content\nreader_process.main()\n'
        )
        assert expected in complaint(path)


def test_unreadable_array_is_named_when_it_is_read(tmp_path):
    path = tmp_path / 'x.h5'
    with h5py.File(path, 'w') as file:
        file.attrs['layer_names'] = [b'fc1']
        group = file.create_group('fc1')
        group.attrs['weight_names'] = [b'text', b'cut', b'whole', b'empty']
        group['text'] = ['a', 'b']
        group.create_dataset('cut', data=np.arange(1e4, dtype=np.float32), chunks=(1000,), compression='gzip')
        group['whole'] = np.arange(6, dtype=np.float16).reshape(2, 3)
        group['empty'] = np.zeros((0, 4), np.float32)
        place = group['cut'].id.get_chunk_info(3).byte_offset
    content = path.read_bytes()
    path.write_bytes(content[:place] + bytes(50) + content[place + 50 :])
    tensors = open_tensors(str(path))
    assert tensors.shapes == {'fc1/0': (2,), 'fc1/1': (10_000,), 'fc1/2': (2, 3), 'fc1/3': (0, 4)}
    with pytest.raises(InputError, match='fc1/0 is object; expected floats'):
        tensors.read('fc1/0')
    with pytest.raises(InputError, match='fc1/1 cannot be read, the file is damaged'):
        tensors.read('fc1/1')
    np.testing.assert_array_equal(tensors.read('fc1/2'), np.arange(6).reshape(2, 3))
    assert tensors.read('fc1/3').shape == (0, 4)


def test_pickles_are_refused_with_a_command_to_convert(tmp_path):
    class Bomb:
        def __reduce__(self):
            return print, ('code ran',)

    for number, protocol in enumerate((0, 2, 4)):
        path = tmp_path / f'{number}.pth'
        path.write_bytes(pickle.dumps(Bomb(), protocol))
        assert 'save_file' in complaint(path)
        assert f'{path} {tmp_path / f"{number}.safetensors"}' in complaint(path)
    with zipfile.ZipFile(tmp_path / 'resnet50.weights', 'w') as archive:
        archive.writestr('resnet50/data.pkl', pickle.dumps(Bomb()))
    assert 'a pickle, which is code' in complaint(tmp_path / 'resnet50.weights')


def test_matlab_files_without_a_network_are_refused(tmp_path, capsys):
    scipy.io.savemat(tmp_path / 'data.mat', {'x': np.zeros(3)})
    assert 'no MatConvNet network' in complaint(tmp_path / 'data.mat')
    scipy.io.savemat(tmp_path / 'relu.mat', {'layers': matlab_cell([{'name': 'relu1', 'type': 'relu'}])})
    assert 'no layer with weights' in complaint(tmp_path / 'relu.mat')
    content = (tmp_path / 'data.mat').read_bytes()
    (tmp_path / 'cut.mat').write_bytes(content[:-20])
    assert 'not a readable MATLAB file' in complaint(tmp_path / 'cut.mat')
    (tmp_path / 'new.mat').write_bytes(b'MATLAB 7.3 MAT-file, Platform: GLNXA64' + bytes(600))
    assert '-v7' in complaint(tmp_path / 'new.mat')


def test_weights_of_other_networks_are_refused(tmp_path, state):
    save_file(state, tmp_path / 'resnet50.safetensors')
    with pytest.raises(
        InputError, match=r'weights of resnet50 \(torchvision resnet50\); expected weights of --model=nasnet'
    ):
        open_init_weights('nasnet', str(tmp_path / 'resnet50.safetensors'))
    save_file({f'encoder.{name}': array for name, array in state.items()}, tmp_path / 'other.safetensors')
    assert 'expected one of torchvision resnet50, torchvision resnet18' in complaint(tmp_path / 'other.safetensors')


def test_damaged_convention_is_refused(tmp_path):
    write_convention(tmp_path, 'resnet50', CAFFE, 'fresh')
    assert read_convention(tmp_path) == ('resnet50', CAFFE)
    path = tmp_path / 'convention.json'
    whole = path.read_text()
    for old, new in (
        ('"resnet50"', '"resnet34"'),
        ('"order": "RGB"', '"order": "GRB"'),
        ('"epsilon": 1e-05', '"epsilon": 0'),
        ('"stride"', '"strides"'),
        ('127.5,', '127.5'),
    ):
        assert old in whole
        path.write_text(whole.replace(old, new))
        with pytest.raises(InputError, match=r'^[^\n]*convention.json: [^\n]*$'):
            read_convention(tmp_path)


COMMANDS = ('truncated checkpoint', 'zip called .h5', 'wrong header', 'another network', 'NaN', '.pth')


@pytest.mark.parametrize('what', COMMANDS)
def test_train_ends_in_one_line_and_leaves_nothing(painted, tmp_path, what, state):
    path, text = tmp_path / 'weights', ''
    net = public.random_vgg(**VGG, map_size=1)
    if what == 'truncated checkpoint':
        save_checkpoint(path, public.affwild(net, recurrent=False))
        (data,) = tmp_path.glob('weights.data-*')
        data.write_bytes(data.read_bytes()[:5000])
        text = 'the checkpoint is damaged'
    elif what == 'zip called .h5':
        path = tmp_path / 'weights.h5'
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('weights', 'x')
        text = 'a zip archive'
    elif what == 'wrong header':
        path.write_bytes(wrong_headers(state)['overlapping'])
        text = 'not a whole safetensors file'
    elif what == 'another network':
        save_file(state, path)
        text = 'expected weights of --model=vgg_face'
    elif what == 'NaN':
        net[3, 2][0][1, 1, 0, 0] = np.nan
        save_checkpoint(path, public.affwild(net, recurrent=False))
        text = 'conv_6/weights has 1 values that are NaN or infinite'
    else:
        path = tmp_path / 'weights.pth'
        path.write_bytes(pickle.dumps({'x': 1}))
        text = 'a pickle'
    flags = (*tiny_flags(painted), f'--width={WIDTH}', f'--init_from={path}', f'--run_dir={tmp_path / "run"}')
    done = run('train.py', *flags, ok=False)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert text in line
    assert done.out == ''
    assert not (tmp_path / 'run').exists()
