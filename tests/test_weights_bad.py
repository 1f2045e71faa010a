"""Files that are not what they say end in one line that says so."""

import json
import pickle
import struct
import zipfile

import h5py
import numpy as np
import public_nets as public
import pytest
import scipy.io
from conftest import run, tiny_flags
from safetensors.numpy import save, save_file
from test_weights import RESIDUAL, VGG, WIDTH, matlab_cell, save_checkpoint

from fer.errors import InputError
from fer.nets.se_resnet import CAFFE
from fer.nets.weights import open_weights
from fer.nets.weights.hdf5_check import check_heaps
from fer.nets.weights.matlab_check import check_matlab
from fer.nets.weights.run import read_convention, write_convention
from fer.tf1 import tf
from fer.training.restore import open_for


@pytest.fixture(scope='module')
def state():
    return public.torch_residual(public.random_residual(**RESIDUAL))


def says(path):
    """The one line that opening it ends in."""
    with pytest.raises(InputError) as caught:
        open_weights(str(path))
    (line,) = str(caught.value).splitlines()
    assert str(path) in line
    return line


def test_no_file_an_empty_one_and_an_empty_folder(tmp_path):
    assert 'no checkpoint or file there' in says(tmp_path / 'nowhere.h5')
    (tmp_path / 'empty.safetensors').touch()
    assert 'empty file' in says(tmp_path / 'empty.safetensors')
    (tmp_path / 'folder').mkdir()
    assert 'no checkpoint in this folder' in says(tmp_path / 'folder')
    (tmp_path / 'text.ckpt').write_text('not weights at all')
    assert "no format of weights begins with b'not weig'" in says(tmp_path / 'text.ckpt')


def lying_headers(state):
    """{how: bytes} of a safetensors file."""
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


def test_a_safetensors_header_that_lies(tmp_path, state):
    for how, content in lying_headers(state).items():
        path = tmp_path / f'{how}.safetensors'
        path.write_bytes(content)
        assert 'not a whole safetensors file' in says(path), how
    header = json.dumps({'x': {'dtype': 'BF16', 'shape': [6], 'data_offsets': [0, 12]}}).encode()
    (tmp_path / 'x').write_bytes(struct.pack('<Q', len(header)) + header + bytes(12))
    assert 'BF16' in says(tmp_path / 'x')


def test_truncated_checkpoints(tmp_path):
    values = public.hikapok(public.random_residual(**RESIDUAL, squeeze_excite=True))
    for name, version in (('new', tf.train.SaverDef.V2), ('old', tf.train.SaverDef.V1)):
        path = save_checkpoint(tmp_path / name, values, write_version=version)
        weights = open_weights(str(path))
        assert open_weights(str(path)).source.name == 'HiKapok se_resnet50'
        assert weights.tensors.read('dense/bias').shape == (5,)
    (data,) = tmp_path.glob('new.data-*')
    data.write_bytes(data.read_bytes()[:-9000])
    last = 'dense/kernel'  # names are in order, and so is the data
    damaged = open_weights(str(tmp_path / 'new'))
    with pytest.raises(InputError, match=f'{last} cannot be read, the checkpoint is damaged'):
        damaged.tensors.read(last)
    index = tmp_path / 'new.index'
    index.write_bytes(index.read_bytes()[:500])
    assert 'not a readable TensorFlow checkpoint' in says(tmp_path / 'new')
    old = tmp_path / 'old'
    old.write_bytes(old.read_bytes()[:3000])
    assert 'the file is cut' in says(old)


def test_hdf5_and_what_is_called_so(tmp_path):
    with zipfile.ZipFile(tmp_path / 'model.h5', 'w') as archive:
        archive.writestr('weights', 'x' * 100)
    assert 'a zip archive' in says(tmp_path / 'model.h5')
    with zipfile.ZipFile(tmp_path / 'model.keras', 'w') as archive:
        archive.writestr('model.weights.h5', 'x' * 100)
    assert 'unzip' in says(tmp_path / 'model.keras')
    with h5py.File(tmp_path / 'data.h5', 'w') as file:
        file['x'] = np.zeros((300, 300))
    assert "without a Keras model's weights" in says(tmp_path / 'data.h5')
    content = (tmp_path / 'data.h5').read_bytes()
    (tmp_path / 'head.h5').write_bytes(content[:9])
    assert 'not a readable HDF5 file' in says(tmp_path / 'head.h5')
    (tmp_path / 'cut.h5').write_bytes(content[: len(content) // 2])
    assert 'not a readable HDF5 file' in says(tmp_path / 'cut.h5')


@pytest.mark.parametrize('before', [0, 2048])
@pytest.mark.parametrize('width', [4, 8])
@pytest.mark.parametrize('version', ['earliest', 'latest'])
def test_heaps_of_text_are_right_as_written_and_wrong_with_a_size_changed(tmp_path, version, width, before):
    path = tmp_path / 'x.h5'
    properties = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    properties.set_userblock(before)
    properties.set_sizes(8, width)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    if version == 'latest':
        access.set_libver_bounds(h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST)
    with h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, properties, access)) as file:
        texts = file.create_dataset(
            'texts', data=['x' * length for length in range(0, 300, 3)], dtype=h5py.string_dtype()
        )
        texts[::2] = ['y' * length for length in range(100, 150)]  # what stood there leaves free space
        file.attrs['names'] = ['x' * length for length in range(50)]
    check_heaps(str(path))
    content = path.read_bytes()
    heap = content.index(b'GCOL')
    for size in (2 ** (8 * width) - 8, 4096, 0):
        after = content[heap + 16 + 8 + width :]  # of its first object; a number of 0 is free space's
        path.write_bytes(content[: heap + 16] + bytes(8) + size.to_bytes(width, 'little') + after)
        with pytest.raises(ValueError, match='global heap'):
            check_heaps(str(path))
    many = b'GCOL\x01\0\0\0' + (2**20).to_bytes(width, 'little') + bytes(8 - width)
    path.write_bytes(content[:before] + content[before : before + 512] + many * 2**16)  # each ends where the file does
    with pytest.raises(ValueError, match='global heap'):
        check_heaps(str(path))


def test_pickles_are_refused_with_the_command_that_converts_them(tmp_path):
    class Bomb:
        def __reduce__(self):
            return print, ('code ran',)

    for number, protocol in enumerate((0, 2, 4)):
        path = tmp_path / f'{number}.pth'
        path.write_bytes(pickle.dumps(Bomb(), protocol))
        assert 'save_file' in says(path)
        assert f'{path} {tmp_path / f"{number}.safetensors"}' in says(path)
    with zipfile.ZipFile(tmp_path / 'resnet50.weights', 'w') as archive:
        archive.writestr('resnet50/data.pkl', pickle.dumps(Bomb()))
    assert 'a pickle, which is code' in says(tmp_path / 'resnet50.weights')


def test_matlab_files_without_a_network(tmp_path, capsys):
    scipy.io.savemat(tmp_path / 'data.mat', {'x': np.zeros(3)})
    assert 'no MatConvNet network' in says(tmp_path / 'data.mat')
    scipy.io.savemat(tmp_path / 'relu.mat', {'layers': matlab_cell([{'name': 'relu1', 'type': 'relu'}])})
    assert 'no layer with weights' in says(tmp_path / 'relu.mat')
    content = (tmp_path / 'data.mat').read_bytes()
    (tmp_path / 'cut.mat').write_bytes(content[:-20])
    assert 'not a readable MATLAB file' in says(tmp_path / 'cut.mat')
    (tmp_path / 'new.mat').write_bytes(b'MATLAB 7.3 MAT-file, Platform: GLNXA64' + bytes(600))
    assert '-v7' in says(tmp_path / 'new.mat')


@pytest.mark.parametrize('compressed', [False, True])
def test_tags_of_a_right_matlab_file(tmp_path, compressed):
    """Every kind of array that SciPy writes passes; a file that is cut, or one of whose sizes is another, does not."""
    content = {
        **{'empty': np.zeros((3, 0)), 'text': 'text é', 'complex': np.ones((2, 3)) * 1j, 'true': np.array(True)},
        **{'whole': np.int64(7), 'struct': {'x': {'y': [1, 2]}, 'none': ''}, 'long': np.arange(99999.0)},
        'cell': matlab_cell(['x', np.zeros(2), {'q': 1.0}]),
    }
    path = tmp_path / 'right.mat'
    scipy.io.savemat(path, content, do_compression=compressed)
    check_matlab(str(path))
    whole = path.read_bytes()
    for cut in (140, 200, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r'break|bytes|type'):
            check_matlab(str(path))


def test_weights_of_another_network_and_of_none(tmp_path, state):
    save_file(state, tmp_path / 'resnet50.safetensors')
    with pytest.raises(InputError, match=r'weights of resnet50 \(torchvision resnet50\); expected of --model=nasnet'):
        open_for('nasnet', str(tmp_path / 'resnet50.safetensors'))
    save_file({f'encoder.{name}': array for name, array in state.items()}, tmp_path / 'other.safetensors')
    assert 'expected one of torchvision resnet50, torchvision densenet121' in says(tmp_path / 'other.safetensors')


def test_a_damaged_convention(tmp_path):
    write_convention(tmp_path, 'resnet50', CAFFE, 'fresh')
    assert read_convention(tmp_path) == ('resnet50', CAFFE)
    path = tmp_path / 'convention.json'
    whole = path.read_text()
    for old, new in (
        ('"resnet50"', '"resnet18"'),
        ('"order": "RGB"', '"order": "GRB"'),
        ('"epsilon": 1e-05', '"epsilon": 0'),
        ('"stride"', '"strides"'),
        ('127.5,', '127.5'),
    ):
        assert old in whole
        path.write_text(whole.replace(old, new))
        with pytest.raises(InputError, match=r'^[^\n]*convention.json: [^\n]*$'):
            read_convention(tmp_path)


COMMANDS = ('truncated checkpoint', 'zip called .h5', 'header that lies', 'another network', 'NaN', '.pth')


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
    elif what == 'header that lies':
        path.write_bytes(lying_headers(state)['overlapping'])
        text = 'not a whole safetensors file'
    elif what == 'another network':
        save_file(state, path)
        text = 'expected of --model=vgg_face'
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
