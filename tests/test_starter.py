# SPDX-License-Identifier: Apache-2.0
"""The starter set: networks built from tiny runs, loaded by name, unpacked and damaged. And the set that is shipped."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import run, tiny_config
from runs import weights
from safetensors.numpy import load_file, save_file

from fer.commands.train import make_absolute
from fer.emotions import EMOTIONS
from fer.errors import InputError
from fer.nets.conventions import source_pixels
from fer.nets.weights import starter
from fer.nets.weights.convention_file import read_convention
from fer.nets.weights.starter import CARD_FILE, NAMES, SET, WEIGHTS_FILE, find_starter, read_card
from fer.prepare_flags import FILE as PREPARE_FLAGS
from fer.prepare_flags import compare_cuts
from fer.results.calibration import fit_temperature
from fer.results.results_file import Results, read_results, write_results
from fer.runs.config import TrainConfig, write_flagfile
from fer.runs.names import FLAGS_FILE
from fer.runs.provenance import digest
from fer.starter.build import LARGEST, TOLERANCE, BuildRequest, build, describe_scores
from fer.starter.card import read_scored
from fer.starter.listing import describe_cards, locate, read_cards
from fer.starter.network import answer_probe, unpack
from fer.starter.terms import DATASETS
from fer.tf1 import tf
from fer.training import stages
from fer.training.evaluate import evaluate
from fer.training.requests import EvaluationRequest
from fer.training.restore import describe_stem
from fer.training.run_folder import read_blueprint
from fer.training.train import train

# All tests of this file run in one process, because they share runs.
pytestmark = [pytest.mark.xdist_group(__name__), pytest.mark.usefixtures('quick_runs')]

SHIPPED = [name for name in NAMES if (SET / name / CARD_FILE).exists()]
NETWORKS = {
    'face': ('pretrain', 'vgg_face', {}, 'stills_a/{}.txt', ''),  # the data have flags of preparation
    'voice': ('audio', 'ffn', {'batch_norm': True}, '{}_functionals.txt', 'ravdess'),
}


def train_and_evaluate(config, manifests, data):
    train(config, resume=False, overwrite=False)
    for split in ('train', 'val'):
        manifest = str(data / manifests.format(split))
        evaluate(EvaluationRequest(run_dir=config.run_dir, manifest=manifest, split=split))


def make_run(name, data, run_dir, **changes):
    stage, model, own, manifests, _ = NETWORKS[name]
    config = tiny_config(data, stage, model, run_dir=run_dir, train_epochs='3', **own, **changes)
    train_and_evaluate(config, manifests, data)
    return run_dir


@pytest.fixture(scope='module')
def data(painted_sound, tmp_path_factory):
    """Makes the folder of each network's data. The faces are grey, like those of FER2013."""
    folder = tmp_path_factory.mktemp('grey')
    shutil.copytree(painted_sound / 'stills_a', folder / 'stills_a')
    for path in folder.rglob('*.jpg'):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    (folder / 'stills_a' / PREPARE_FLAGS).write_text(
        '--dataset=fer2013\n--detector=none\n--margin=0.0\n--source=/x/y\n'
    )
    return {'face': folder, 'voice': painted_sound}


@pytest.fixture(scope='module')
def runs(data, tmp_path_factory, quick_runs):
    """Makes a run of each kind. Its training set stands for validation, and its validation set for the test."""
    folder = tmp_path_factory.mktemp('runs')
    return {name: make_run(name, data[name], folder / name) for name in NETWORKS}


@pytest.fixture(scope='module')
def built(runs, tmp_path_factory):
    """Builds a starter set of both runs, and makes it the package's."""
    folder = tmp_path_factory.mktemp('set')
    shutil.copy(SET / 'LICENSE', folder)
    for name, path in runs.items():
        build(request(name, path, folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starter, 'SET', folder)
        yield folder


def request(name, run_dir, output, *others, **changes):
    settings = {'dataset': NETWORKS[name][-1], 'val_split': 'train', 'test_split': 'val', **changes}
    return BuildRequest(name=name, run=run_dir, scored_runs=(run_dir, *others), output=output, **settings)


def child_config(name, data, run_dir, **changes):
    stage, model, own, _, _ = NETWORKS[name]
    return tiny_config(
        data, stage, model, run_dir=run_dir, **{'init_from': f'starter:{name}', 'max_steps': 1, **own, **changes}
    )


@pytest.mark.parametrize('name', NETWORKS)
def test_weights_are_the_run_s_in_float16(runs, built, name):
    tensors = load_file(built / name / WEIGHTS_FILE)
    scope = NETWORKS[name][1]
    expected = {key: value for key, value in weights(runs[name]).items() if key.startswith(f'{scope}/')}
    assert sorted(tensors) == sorted(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(tensors[key], value.astype(np.float16))


@pytest.mark.parametrize('name', NETWORKS)
def test_card_describes_run_and_results(runs, built, name):
    card = read_card(built / name)
    results = read_results(runs[name] / 'results_val.txt')
    metrics = json.loads((runs[name] / 'metrics_val.json').read_text())
    assert card['scores']['accuracy'] == metrics['accuracy']
    assert card['scores']['f1'] == pytest.approx(metrics['f1'])
    assert card['scores']['confusion'] == metrics['confusion']
    low, high = card['scores']['f1_interval_95']
    assert low <= card['scores']['f1'] <= high
    assert card['splits']['test']['total'] == len(results.labels)
    assert card['splits']['train']['per_class'] == json.loads((runs[name] / 'class_counts.json').read_text())
    assert card['classes'] == list(EMOTIONS)
    assert card['spread']['deviation'] is None
    assert 'scores are of this network on val' in card['scores']['of']
    assert f'--model={NETWORKS[name][1]}' in card['recipe']['command']
    assert [row['dataset'] for row in card['data']] == [{'face': 'fer2013', 'voice': 'ravdess'}[name]]
    assert card['recipe']['step'] == json.loads((runs[name] / 'finished.json').read_text())['step']
    assert card['recipe']['sessions'] == 1
    for split in card['float16']['splits'].values():
        assert abs(split['accuracy'] - split['accuracy_of_run']) <= max(TOLERANCE, 1 / split['total'])
    texts = [path.read_text(errors='ignore') for path in (built / name).iterdir()]
    assert not any(str(runs[name].parent) in text or '/pytest' in text for text in texts)  # no paths of a machine


def test_face_takes_luma_of_colour_images(built):
    """FER2013 has grey images. A network trained on them gets grey ones, whatever it is given."""
    _, convention = read_convention(built / 'face')
    assert convention.grey
    images = np.random.default_rng(0).uniform(-1, 1, (2, 5, 7, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        found = session.run(source_pixels(tf.constant(images), convention._replace(std=(51.0, 102.0, 255.0))))
    luma = np.array([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images])
    np.testing.assert_allclose(found, luma[..., np.newaxis] * (2.5, 1.25, 0.5), atol=1e-5)


@pytest.mark.parametrize('name', NETWORKS)
def test_unpacked_run_answers_like_the_run(runs, built, data, tmp_path, name):
    run_dir = tmp_path / 'unpacked'
    unpack(locate(name), run_dir)
    manifest = data[name] / NETWORKS[name][3].format('val')
    evaluate(EvaluationRequest(run_dir=str(run_dir), manifest=str(manifest), split='val'))
    found, expected = (read_results(folder / 'results_val.txt') for folder in (run_dir, runs[name]))
    assert found.video_ids == expected.video_ids
    np.testing.assert_allclose(found.logits, expected.logits, atol=0.02)
    for path in ('LICENSE', CARD_FILE, FLAGS_FILE):
        assert (run_dir / path).exists()
    with pytest.raises(InputError, match='already used'):
        unpack(locate(name), run_dir)


@pytest.mark.parametrize(
    ('detector', 'margin', 'differs'),
    [
        ('none', '0.0', ''),
        ('none', '0.2', '--margin=0.2 (0.0)'),
        ('mtcnn', '-0.06', ''),
        ('mtcnn', '0.15', '--margin=0.15 (-0.06)'),
    ],
)
def test_cut_of_faces_is_compared_with_fer2013s(detector, margin, differs):
    learned = {'train.txt': {'detector': 'none', 'margin': '0.0'}}
    own = {'train.txt': {'detector': detector, 'margin': margin}}
    assert compare_cuts(own, learned, {DATASETS['fer2013'].margin}) == differs
    assert compare_cuts({}, learned, set()) == ''


def test_another_stem_stride_is_named(tmp_path):
    write_flagfile(tmp_path / FLAGS_FILE, TrainConfig(stem_stride=2, batch_size=64, global_pool=True))
    weights = SimpleNamespace(path=str(tmp_path / 'model.ckpt-5'), source=SimpleNamespace(own=True))
    assert describe_stem(4, weights) == 'stem: --stem_stride=4, but the weights were trained with 2'
    assert describe_stem(2, weights) == describe_stem(4, None) == ''


@pytest.mark.parametrize('name', NETWORKS)
def test_run_starts_from_a_name(built, data, tmp_path, capsys, name):
    folder = shutil.copytree(data['face'], tmp_path / 'data') if name == 'face' else data[name]
    if name == 'face':
        (folder / 'stills_a' / PREPARE_FLAGS).write_text('--dataset=rafdb\n--detector=none\n--margin=0.2\n')
    train(child_config(name, folder, tmp_path / 'child'), resume=False, overwrite=False)
    card = read_card(built / name)
    line = f'{card["summary"]}; {card["notice"]}'
    out = capsys.readouterr().out
    assert out.count(line) == 1
    differing = 'faces are cut otherwise than those of starter:face (in brackets): --margin=0.2 (0.0)\n'
    assert (differing in out) == (name == 'face')
    report = (tmp_path / 'child' / 'restored.txt').read_text()
    assert report.splitlines()[0] == f'# {line}'
    assert ': 0 of' not in report
    assert ' 0 fresh' in report
    assert f'--init_from=starter:{name}' in (tmp_path / 'child' / FLAGS_FILE).read_text()
    if name == 'face':
        assert read_convention(tmp_path / 'child') == read_convention(built / 'face')
    else:
        assert digest(tmp_path / 'child' / 'audio_scaling.txt') == digest(built / 'voice' / 'audio_scaling.txt')


class Recorder:
    """Settings that remember which of them are read."""

    def __init__(self, config):
        self.config, self.read = config, set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self.config, name)


def test_network_flags_are_all_that_the_graph_reads(runs):
    """A new option of a network has to be among them. Otherwise weights would be loaded under another network."""
    blueprint = read_blueprint(runs['face'])
    recorder = Recorder(blueprint.config)
    stages.cnn_arguments(blueprint._replace(config=recorder))
    assert recorder.read == set(stages.network_flags('resnet18'))
    recorder = Recorder(dataclasses.replace(blueprint.config, bidirectional=True, attention=True))
    stages._recurrence(recorder)
    assert recorder.read == set(stages.network_flags('audio_gru'))


def test_command_keeps_the_name_in_flags(built):
    config = make_absolute(TrainConfig(init_from='starter:face', run_dir='here'))
    assert config.init_from == 'starter:face'
    assert config.run_dir.startswith('/')


@pytest.mark.parametrize(
    ('name', 'changes', 'says'),
    [
        ('face', {'width': 0.1}, ('--width=0.1;', 'expected --model=vgg_face --width=0.05')),
        ('face', {'model': 'resnet50', 'global_pool': True}, ('does not fit --model=resnet50;', '--stage=pretrain or')),
        ('face', {'init_from': 'starter:voice'}, ('--model=vgg_face;', 'expected --model=ffn', '--stage=audio')),
        ('voice', {'init_from': 'starter:face'}, ('--model=ffn;', 'expected --model=vgg_face')),
        ('voice', {'hidden_units': (5,)}, ('--hidden_units=5;', '--model=ffn --hidden_units=6 --batch_norm=True')),
        ('face', {'init_from': 'starter:fac'}, ("no 'fac'", 'starter:face, starter:voice')),
    ],
)
def test_another_network_is_refused_with_fitting_flags(built, painted_sound, tmp_path, name, changes, says):
    config = dataclasses.replace(child_config(name, painted_sound, tmp_path / 'child'), **changes)
    with pytest.raises(InputError) as caught:
        train(config, resume=False, overwrite=False)
    (line,) = str(caught.value).splitlines()
    for text in says:
        assert text in line
    assert not list((tmp_path / 'child').glob('*'))


def damage_byte(folder):
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-3] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(data)


def cut(folder):
    (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:-1])


def edit_flags(folder):
    path = folder / FLAGS_FILE
    path.write_text(path.read_text().replace('--width=0.05', '--width=0.1'))


def change_card(**changes):
    def change(folder):
        card = json.loads((folder / CARD_FILE).read_text())
        (folder / CARD_FILE).write_text(json.dumps(card | changes))

    return change


@pytest.mark.parametrize(
    ('damage', 'says'),
    [
        (damage_byte, 'weights.safetensors: damaged'),
        (cut, 'weights.safetensors: damaged'),
        (edit_flags, 'flags.txt: damaged'),
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), 'weights.safetensors: No such file'),
        (lambda folder: (folder / CARD_FILE).unlink(), 'card.json is missing'),
        (lambda folder: (folder / CARD_FILE).write_text('{'), 'card.json: JSONDecodeError'),
        (change_card(format_version=2), 'format version 2, but this fer reads version 1'),
        (change_card(files={}), 'card.json: ValueError'),
        (change_card(files={WEIGHTS_FILE: {'sha256': 'x'}, '../flags.txt': {}}), 'card.json: KeyError'),
        (change_card(notice=3), 'card.json: ValueError'),
    ],
)
def test_damaged_network_is_refused(built, painted_sound, tmp_path, monkeypatch, damage, says):
    shutil.copytree(built / 'face', tmp_path / 'set' / 'face')
    monkeypatch.setattr(starter, 'SET', tmp_path / 'set')
    damage(tmp_path / 'set' / 'face')
    with pytest.raises(InputError) as caught:
        train(child_config('face', painted_sound, tmp_path / 'child'), resume=False, overwrite=False)
    (line,) = str(caught.value).splitlines()
    assert says in line
    ((_, described), _) = read_cards()
    assert says in described


def test_network_s_folder_has_card_and_weights(built, tmp_path):
    assert find_starter(str(built / 'face')) == built / 'face'
    save_file({'x': np.zeros(3, np.float32)}, tmp_path / WEIGHTS_FILE)
    assert find_starter(str(tmp_path)) is None
    with pytest.raises(InputError, match='expected face or voice'):
        locate(str(tmp_path))


def test_damaged_results_are_not_described(runs, tmp_path):
    shutil.copytree(runs['voice'], tmp_path / 'run')
    path = tmp_path / 'run' / 'results_val.txt'
    results = read_results(path)
    write_results(path, results._replace(predictions=results.labels))
    with pytest.raises(InputError, match=r'results_val\.txt: changed since evaluate\.py wrote metrics_val\.json'):
        build(request('voice', tmp_path / 'run', tmp_path / 'set'))
    assert not (tmp_path / 'set').exists()


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'name': 'sound'}, '--name=sound: expected one of face, voice'),
        ({'name': 'face'}, 'a run of --stage=audio; expected another for face'),
        ({'dataset': 'afew'}, '--dataset=afew: expected one of fer2013, ravdess'),
        ({'val_split': 'val'}, '6 items are in val and in val'),
        ({'test_split': 'none'}, 'results_none.txt: No such file'),
    ],
)
def test_bad_request_is_refused(runs, tmp_path, changes, says):
    with pytest.raises(InputError) as caught:
        build(request('voice', runs['voice'], tmp_path / 'set')._replace(**changes))
    assert says in str(caught.value)
    assert not (tmp_path / 'set').exists()


def test_too_large_network_is_refused(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(LARGEST, 'face', 1000)
    with pytest.raises(InputError, match='expected at most 1,000'):
        build(request('face', runs['face'], tmp_path / 'set'))
    assert not (tmp_path / 'set').exists()


def test_float16_that_changes_accuracy_is_refused(runs, tmp_path, monkeypatch):
    monkeypatch.setattr('fer.starter.build.evaluate', lambda request: _answer_wrongly(request, runs['voice']))
    with pytest.raises(InputError, match='float16 changes the accuracy on train'):
        build(request('voice', runs['voice'], tmp_path / 'set'))


def _answer_wrongly(request, run_dir):
    results = read_results(run_dir / f'results_{request.split}.txt')
    wrong = Results(
        results.video_ids, results.logits, (results.labels + 1) % 7, results.labels, results.frames, results.fallback
    )
    write_results(f'{request.run_dir}/results_{request.split}.txt', wrong)


def test_seeds_and_folds_are_told_apart(runs, painted_sound, tmp_path):
    """Another seed adds to the spread only. A run with another test set is another fold, scored with the first."""
    seed = make_run('voice', painted_sound, tmp_path / 'seed', seed=1)

    def describe(*others, val_split='train'):
        scored = [runs['voice'], *others]
        config = read_blueprint(runs['voice']).config
        wanted = request('voice', *scored[:1], tmp_path, val_split=val_split)
        return describe_scores(wanted, read_scored(scored, config, val_split, 'val'))

    card = describe(seed)
    assert [(row['seed'], row['fold'], row['is_built']) for row in card['spread']['runs']] == [
        (0, 1, True),
        (1, 1, False),
    ]
    accuracies = [row['accuracy'] for row in card['spread']['runs']]
    assert card['spread']['mean'] == pytest.approx(np.mean(accuracies))
    assert card['spread']['deviation'] == pytest.approx(np.std(accuracies, ddof=1))
    assert card['scores']['accuracy'] == accuracies[0]
    fold = shutil.copytree(seed, tmp_path / 'fold')
    for number in (1, 2):  # the two splits in exchange
        for name in ('results_{}.txt', 'metrics_{}.json'):
            source, target = (fold / name.format(split) for split in (('train', 'x'), ('val', 'train'))[number - 1])
            source.rename(target)
    for name in ('results_{}.txt', 'metrics_{}.json'):
        (fold / name.format('x')).rename(fold / name.format('val'))
    folds = describe(fold)
    assert folds['splits']['test']['total'] == 8 + 5 + 2 == folds['scores']['total']
    assert folds['spread']['folds'] == 2
    assert 'of 2 networks of one recipe' in folds['scores']['of']
    assert 'This network is that of one fold' in folds['scores']['of']
    assert len(folds['calibration']['temperatures']) == 2
    crossed = describe(fold, val_split='')['calibration']
    assert crossed['fitted_on'] == 'the tests of the other folds'
    tests = [read_results(folder / 'results_val.txt') for folder in (runs['voice'], fold)]
    assert crossed['temperatures'] == [fit_temperature(test.logits, test.labels) for test in reversed(tests)]
    with pytest.raises(InputError, match='or several folds'):
        describe(seed, val_split='')


def test_another_recipe_is_refused(runs, painted_sound, tmp_path):
    other = shutil.copytree(runs['voice'], tmp_path / 'other')
    path = other / FLAGS_FILE
    path.write_text(path.read_text().replace('--learning_rate=0.01', '--learning_rate=0.02'))
    with pytest.raises(InputError, match=r'another recipe .*--learning_rate=0.02 \(0.01\)'):
        build(request('voice', runs['voice'], tmp_path / 'set', other))


def test_list_is_a_row_for_each_network(built):
    lines = describe_cards(read_cards())
    assert sum(line.startswith('starter:') for line in lines) == 2
    assert sum('for non-commercial research only' in line for line in lines) == 2


def test_command_lists_without_a_verb():
    done = run('-m', 'fer.starter')
    assert 'starter:face' in done.out
    assert 'starter:voice' in done.out
    done = run('-m', 'fer.starter', 'unpack', '--name=face', ok=False)
    assert (done.code, done.err) == (
        2,
        'python -m fer.starter: unpack: --run_dir is not given; see python -m fer.starter --help\n',
    )


# The set that the package brings


@pytest.mark.skipif(not SHIPPED, reason='no network is shipped yet')
@pytest.mark.parametrize('name', SHIPPED)
def test_shipped_network_is_whole_and_answers(name):
    folder = SET / name
    card = read_card(folder)
    assert (folder / WEIGHTS_FILE).stat().st_size <= LARGEST[name]
    assert {path.name for path in folder.iterdir()} == {*card['files'], CARD_FILE}
    assert all(array.dtype == np.float16 for array in load_file(folder / WEIGHTS_FILE).values())
    assert card['recipe']['commit']
    assert not card['recipe']['uncommitted_changes']
    assert card['calibration']['ece_after'] < 0.1  # a temperature near 1 may not lower it on the test set
    assert '/tmp/' not in (folder / CARD_FILE).read_text()
    np.testing.assert_allclose(answer_probe(folder), card['probe'], rtol=1e-3, atol=1e-3)
