# SPDX-License-Identifier: Apache-2.0
"""Runs of every stage in this process: killed, resumed, restored from each other, scored, replayed."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from commands import CONTEXT
from conftest import tiny_config, write_audio
from runs import assert_same_run, best_weights, losses, rows, weights

from fer.errors import InputError
from fer.extract.extract import extract
from fer.extract.request import ExtractionRequest
from fer.manifest import read_manifest
from fer.nets.weights.files import open_tensors
from fer.results.results_file import read_results
from fer.runs.checkpoints import whole_checkpoints
from fer.runs.names import BEST_PREFIX, BEST_STATE, LOCK_FILE
from fer.sample_rates import write_rates
from fer.stop import Stopped
from fer.training import checkpoints
from fer.training.evaluate import evaluate
from fer.training.log import RunLog
from fer.training.requests import EvaluationRequest
from fer.training.train import train

# All tests of this file run in one process, because they share runs.
pytestmark = [pytest.mark.xdist_group(__name__), pytest.mark.usefixtures('quick_runs')]

KINDS = {'audio_gru': '_clips', 'ffn': '_functionals', 'early_fusion': '_audiovisual'}


class Runs:
    """Runs of three epochs. The first use of a run trains it."""

    def __init__(self, data, folder):
        self.data, self.folder = data, folder

    def config(self, name, run_dir, **changes):
        own = {}
        if name in ('ffn', 'audio_gru'):
            own = {'stage': 'audio', 'model': name, 'train_epochs': '3', 'batch_norm': True}
        if name == 'pretrain':
            stills = [self.data / folder for folder in ('stills_a', 'stills_b')]
            own = {f'{split}_manifest': ','.join(str(f / f'{split}.txt') for f in stills) for split in ('train', 'val')}
            own |= {'train_epochs': '3'}
        if name == 'early_fusion':
            own = {'fusion_option': 4, 'init_from': self['temporal'], 'audio_run_dir': self['audio_gru']}
            own |= {'train_epochs': '1,2'}
        if name == 'finetune':
            own = {'train_epochs': '1,2'}
        if name == 'temporal':
            own = {'train_epochs': '3', 'rnn_units': 4, 'rnn_cell': 'lstm', 'rnn_dropout': 0.3}
        return tiny_config(self.data, **{'stage': name, 'run_dir': run_dir, **own, **changes})

    def __getitem__(self, name):
        run_dir = self.folder / name
        if not run_dir.exists():
            train(self.config(name, run_dir), resume=False, overwrite=False)
        return run_dir

    def manifest(self, name):
        return self.data / ('stills_a' if name == 'pretrain' else '') / f'val{KINDS.get(name, "")}.txt'


@pytest.fixture(scope='module')
def runs(painted_sound, tmp_path_factory):
    return Runs(painted_sound, tmp_path_factory.mktemp('runs'))


def score(run_dir, manifest, output, **changes):
    """Evaluates a run. Returns the bytes of the results file, and the metrics."""
    evaluate(EvaluationRequest(run_dir=str(run_dir), manifest=str(manifest), output=str(output), **changes))
    return (output / 'results_val.txt').read_bytes(), json.loads((output / 'metrics_val.json').read_text())


def train_and_kill(config, run_dir):
    """Trains in another process and kills it as soon as the first epoch is scored."""
    process = CONTEXT.Process(target=train, args=(config,), kwargs={'resume': False, 'overwrite': False})
    process.start()
    log = run_dir / 'val_log.csv'
    while process.is_alive() and not (log.exists() and log.read_text().count('\n') > 1):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, 'the run ended before it was killed'


@pytest.mark.parametrize(
    'name',
    [
        'ffn',
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ('audio_gru', 'pretrain', 'finetune', 'temporal', 'early_fusion')
        ),
    ],
)
def test_killed_run_resumes_to_equal_logits(runs, tmp_path, name):
    whole, killed = runs[name], tmp_path / 'killed'
    config = runs.config(name, killed)
    train_and_kill(config, killed)
    (last,) = weights(whole)['global_step'].reshape(-1)
    assert weights(killed)['global_step'] < last
    train(config, resume=True, overwrite=False)
    assert_same_run(whole, killed)
    manifest = runs.manifest(name)
    results = [score(run_dir, manifest, tmp_path / run_dir.name)[0] for run_dir in (whole, killed)]
    assert results[0] == results[1]


def assert_all_whole(run_dir):
    """Checks that the folder has no unfinished file, no incomplete checkpoint and no lock."""
    names = {path.name for path in run_dir.iterdir()}
    assert not [name for name in names if name.startswith('.') or 'tmp' in name or 'temp' in name or name == LOCK_FILE]
    checkpoints = {os.path.splitext(name)[0] for name in names if '.ckpt-' in name}
    whole = [*whole_checkpoints(run_dir), *whole_checkpoints(run_dir, BEST_STATE)]
    assert checkpoints == {os.path.basename(path) for path in whole}


@pytest.mark.parametrize('name', ['finetune', pytest.param('early_fusion', marks=pytest.mark.slow)])
def test_run_stopped_inside_epoch_resumes_to_equal_logits(runs, tmp_path, monkeypatch, name):
    """SIGTERM stops phase one, then SIGUSR1 stops phase two. The current step is kept, and no step is taken twice."""
    whole, stopped = runs[name], tmp_path / 'stopped'
    config = runs.config(name, stopped)
    log_step = RunLog.log_step
    for stop, number in ((2, signal.SIGTERM), (5, signal.SIGUSR1)):

        def log_and_stop(self, record, stop=stop, number=number):
            log_step(self, record)
            if record.step == stop:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(RunLog, 'log_step', log_and_stop)
        with pytest.raises(Stopped, match=f'stopped by {number.name}: step {stop} of'):
            train(config, resume=True, overwrite=False)
        assert weights(stopped)['global_step'] == stop
        assert_all_whole(stopped)
        assert signal.getsignal(number) == signal.SIG_DFL
    monkeypatch.undo()
    train(config, resume=True, overwrite=False)
    assert_same_run(whole, stopped)


@pytest.mark.slow
def test_run_stopped_while_saving_best_keeps_it_whole(runs, tmp_path, monkeypatch):
    whole, stopped = (runs.config('ffn', tmp_path / name, early_stopping=9) for name in ('whole', 'stopped'))
    train(whole, resume=False, overwrite=False)
    save = checkpoints.save

    def save_and_stop(saver, session, folder, prefix, step):
        if prefix == BEST_PREFIX:
            os.kill(os.getpid(), signal.SIGTERM)
        save(saver, session, folder, prefix, step)

    monkeypatch.setattr(checkpoints, 'save', save_and_stop)
    with pytest.raises(Stopped, match='stopped by SIGTERM: step 3 of'):  # the step after the best epoch
        train(stopped, resume=True, overwrite=False)
    assert_all_whole(tmp_path / 'stopped')
    assert best_weights(tmp_path / 'stopped')['global_step'] == 2
    monkeypatch.undo()
    train(stopped, resume=True, overwrite=False)
    assert_same_run(tmp_path / 'whole', tmp_path / 'stopped')
    assert_all_whole(tmp_path / 'stopped')


def test_early_fusion_needs_parent_runs_only_once(runs, tmp_path):
    parents = {name: shutil.copytree(runs[name], tmp_path / name) for name in ('temporal', 'audio_gru')}
    origins = {'init_from': parents['temporal'], 'audio_run_dir': parents['audio_gru']}
    config = runs.config('early_fusion', tmp_path / 'fused', **origins, learning_rate=1e-12, train_epochs='1')
    train(config, resume=False, overwrite=False)
    report = (tmp_path / 'fused' / 'restored.txt').read_text()
    assert f'# vgg_face: 28 of 28 variables restored, 0 fresh (this project, {parents["temporal"]}/' in report.replace(
        ', 4 tensors left in the file', ''
    )
    assert '# temporal: 2 of 2 variables restored, 0 fresh' in report
    assert f'# audio_gru: 4 of 4 variables restored, 0 fresh, 2 tensors left in the file (this project, {tmp_path}' in (
        report
    )
    assert '# early_fusion: 0 of 6 variables restored, 6 fresh' in report
    found = weights(tmp_path / 'fused')
    for name in ('temporal', 'audio_gru'):
        theirs = weights(parents[name])
        shared = [key for key in found if key in theirs and key.startswith((f'{name}/', 'vgg_face/'))]
        assert len(shared) == {'temporal': 30, 'audio_gru': 4}[name]
        for key in shared:  # a step of 1e-12 moves the variables only within the tolerance
            np.testing.assert_allclose(found[key], theirs[key], rtol=1e-6, atol=1e-9)
    # The audio has the scaling of the audio run.
    scalings = [(folder / 'audio_scaling.txt').read_bytes() for folder in (tmp_path / 'fused', parents['audio_gru'])]
    assert scalings[0] == scalings[1]
    before, _ = score(tmp_path / 'fused', runs.manifest('early_fusion'), tmp_path / 'before')
    for parent in parents.values():
        shutil.rmtree(parent)
    after, _ = score(tmp_path / 'fused', runs.manifest('early_fusion'), tmp_path / 'after')
    assert after == before


@pytest.mark.slow
def test_early_fusion_starts_from_early_fusion(runs, tmp_path):
    """The visual GRU keeps the sizes of its own first run, which differ from those of the GRU that joins."""
    first = runs['early_fusion']
    config = runs.config('early_fusion', tmp_path / 'second', init_from=first, max_steps=1, train_epochs='1')
    train(config, resume=False, overwrite=False)
    report = (tmp_path / 'second' / 'restored.txt').read_text()
    assert '# temporal: 2 of 2 variables restored' in report
    assert '# early_fusion: 6 of 6 variables restored' in report
    assert (tmp_path / 'second' / 'visual_flags.txt').read_text() == (first / 'visual_flags.txt').read_text()


def test_pretrain_scores_each_dataset_as_evaluation_does(runs, tmp_path):
    run_dir = runs['pretrain']
    logged = rows(run_dir, 'val_log.csv')
    assert [(row['epoch'], row['dataset']) for row in logged] == [
        (epoch, name) for epoch in ('1', '2', '3') for name in ('stills_a', 'stills_b')
    ]
    for row in logged[-2:]:
        _, metrics = score(run_dir, runs.data / row['dataset'] / 'val.txt', tmp_path / row['dataset'], batch_size=1)
        assert int(row['correct']) == metrics['correct']
        assert int(row['total']) == metrics['total'] == {'stills_a': 9, 'stills_b': 7}[row['dataset']]
        assert float(row['accuracy']) == pytest.approx(metrics['accuracy'])
        assert float(row['f1']) == pytest.approx(metrics['f1'])
    steps_per_epoch = -(-(9 + 7) // 4)  # both datasets are trained on, mixed
    assert len(losses(run_dir)) == 3 * steps_per_epoch


def test_training_on_validation_videos_prints_warning(runs, tmp_path, capsys):
    manifests = ','.join(str(runs.data / f'{split}_clips.txt') for split in ('train', 'val'))
    train(
        runs.config('audio_gru', tmp_path / 'run', train_manifest=manifests, max_steps=1), resume=False, overwrite=False
    )
    out = capsys.readouterr().out
    assert '5 of the validation videos are also trained on' in out
    assert 'training: 15 videos (2 without clips), 51 clips' in out
    train(runs.config('audio_gru', tmp_path / 'other', max_steps=1), resume=False, overwrite=False)
    assert 'are also trained on' not in capsys.readouterr().out


def test_sampling_rates_that_differ_are_printed(runs, tmp_path, capsys):
    """Compares training with validation, and with a later evaluation."""
    data = tmp_path / 'data'
    shutil.copytree(runs.data, data)
    rates = {split: data / f'{split}_functionals.rates.csv' for split in ('train', 'val')}
    write_rates(rates['train'], {48000: 7, 44100: 2})
    write_rates(rates['val'], {16000: 6})
    changes = {f'{split}_manifest': str(data / f'{split}_functionals.txt') for split in ('train', 'val')}
    train(runs.config('ffn', tmp_path / 'run', max_steps=1, **changes), resume=False, overwrite=False)
    expected = 'sampling rates differ: training 7 at 48000 Hz and 2 at 44100 Hz, {} 6 at 16000 Hz; features of'
    assert expected.format('validation') in capsys.readouterr().out
    score(tmp_path / 'run', changes['val_manifest'], tmp_path / 'val')
    assert expected.format('val') in capsys.readouterr().out
    rates['val'].unlink()
    rates['train'].write_text('sample_rate,videos\n48000,x\n')
    score(tmp_path / 'run', changes['val_manifest'], tmp_path / 'unknown')
    assert 'val 6' not in capsys.readouterr().out
    with pytest.raises(InputError, match=r"train_functionals.rates.csv:2: found '48000,x'"):
        train(runs.config('ffn', tmp_path / 'other', **changes), resume=False, overwrite=False)


def test_clip_contexts_that_differ_are_printed(runs, tmp_path, capsys):
    """Compares training with validation, and with a later evaluation. The run keeps the flags of both preparations."""
    changes = {}
    for split, context in (('train', 'isolated'), ('val', 'contextual')):
        data = tmp_path / split
        shutil.copytree(runs.data, data)
        (data / 'prepare_flags.txt').write_text(f'--dataset=afew\n--clip_context={context}\n')
        changes[f'{split}_manifest'] = str(data / f'{split}_clips.txt')
    train(runs.config('audio_gru', tmp_path / 'run', max_steps=1, **changes), resume=False, overwrite=False)
    out = capsys.readouterr().out
    assert 'audio: 112 features, zscore, clips isolated\n' in out
    assert '--clip_context differs: training isolated, validation contextual; audio clips of' in out
    kept = json.loads((tmp_path / 'run' / 'prepare_flags.json').read_text())
    assert kept[changes['train_manifest']] == {'dataset': 'afew', 'clip_context': 'isolated'}
    assert kept[changes['val_manifest']]['clip_context'] == 'contextual'
    score(tmp_path / 'run', changes['val_manifest'], tmp_path / 'val')
    assert 'the run contextual and isolated, val contextual' in capsys.readouterr().out
    (tmp_path / 'train' / 'prepare_flags.txt').write_text('--dataset=afew\nclip_context\n')
    with pytest.raises(InputError, match=r"train/prepare_flags.txt:2: found 'clip_context'; expected --flag=value"):
        train(runs.config('audio_gru', tmp_path / 'other', **changes), resume=False, overwrite=False)


def own_answers(frames, seq_len, classify, answer):
    """Returns a video's logits from those of its frames, in NumPy. Windows have the mean of their frames."""
    windows = [list(frames[start : start + seq_len]) for start in range(0, len(frames), seq_len)]
    lengths = [len(window) for window in windows]
    if classify == 'padded':
        windows = [window + [window[-1]] * (seq_len - len(window)) for window in windows]
    if answer == 'median':
        return np.median(np.concatenate(windows), axis=0)
    weights = lengths if answer == 'frames' else [1] * len(windows)
    return np.average([np.mean(window, axis=0) for window in windows], axis=0, weights=weights)


@pytest.mark.parametrize('classify', ['exact', 'padded'])
def test_video_answers_equal_extracted_logits_in_numpy(runs, tmp_path, classify, capsys):
    """fer.extract computes the logits of each frame without windows."""
    run_dir = shutil.copytree(runs['finetune'], tmp_path / 'run')
    flags = (run_dir / 'flags.txt').read_text()
    (run_dir / 'flags.txt').write_text(flags.replace('--classify=exact', f'--classify={classify}'))
    manifest, output = runs.manifest('finetune'), tmp_path / 'features.npz'
    extract(ExtractionRequest(init_from=str(run_dir), manifest=str(manifest), output=str(output)))
    with np.load(output) as arrays:
        ids, logits = arrays['video_id'], arrays['logits']
    found = {}
    for answer in ('frames', 'windows', 'median'):
        _, metrics = score(run_dir, manifest, tmp_path / answer, video_answer=answer)
        assert metrics['video_answer'] == answer
        results = read_results(tmp_path / answer / 'results_val.txt')
        found[answer] = results.logits
        seen = [row for row, name in enumerate(results.video_ids) if name in ids]  # not the video without a face
        expected = [own_answers(logits[ids == results.video_ids[row]], 4, classify, answer) for row in seen]
        np.testing.assert_allclose(results.logits[seen], expected, rtol=1e-4, atol=1e-5)
    assert (score(run_dir, manifest, tmp_path / 'plain')[0]) == (tmp_path / 'frames' / 'results_val.txt').read_bytes()
    assert 'the median of all its frames' in capsys.readouterr().out
    assert np.abs(found['frames'] - found['windows']).max() > 1e-4
    assert np.abs(found['frames'] - found['median']).max() > 1e-4


def test_keep_best_trains_on_and_the_best_answers(runs, tmp_path, capsys):
    """Steps too small to change a prediction make the first epoch the best. Validation answers by the median."""
    run_dir, changes = tmp_path / 'run', {'keep_best': True, 'video_answer': 'median', 'learning_rate': 1e-12}
    train(runs.config('audio_gru', run_dir, **changes, max_steps=5), resume=False, overwrite=False)
    config = runs.config('audio_gru', run_dir, **changes)
    train(config, resume=True, overwrite=False)
    out = capsys.readouterr().out
    assert 'checkpoint: best.ckpt-3 (the best in validation, kept by --keep_best; its score is optimistic' in out
    finished = json.loads((run_dir / 'finished.json').read_text())
    assert finished == {'step': 9, 'reason': 'epochs', 'checkpoint': 'best.ckpt-3'}
    assert (weights(run_dir)['global_step'], best_weights(run_dir)['global_step']) == (9, 3)
    manifest, reasons = runs.manifest('audio_gru'), {'': 'the best in validation, kept by --keep_best'}
    for choice, name in (('', 'best.ckpt-3'), ('last', 'model.ckpt-9'), ('best', 'best.ckpt-3')):
        _, metrics = score(run_dir, manifest, tmp_path / 'scores', checkpoint=choice)
        out = capsys.readouterr().out
        assert f'checkpoint: {run_dir}/{name} ({reasons.get(choice, f"--checkpoint={choice}")}' in out
        assert ('this score is optimistic: the same videos chose the checkpoint' in out) == (choice != 'last')
        assert metrics['checkpoint'] == name
        row = rows(run_dir, 'val_log.csv')[-1 if choice == 'last' else 0]  # the training graph's score of that step
        assert (row['correct'], float(row['f1'])) == (str(metrics['correct']), pytest.approx(metrics['f1']))
        assert "a video's answer: the median of all its frames" in out
    score(run_dir, runs.data / 'train_clips.txt', tmp_path / 'other')
    assert 'optimistic' not in capsys.readouterr().out


def test_early_stopping_keeps_best_and_stays_stopped(runs, tmp_path, capsys):
    """Steps too small to change a prediction make the first epoch the best, so the run stops after the third."""
    run_dir = tmp_path / 'run'
    config = runs.config('audio_gru', run_dir, early_stopping=2, learning_rate=1e-12, train_epochs='30')
    train(config, resume=False, overwrite=False)
    assert 'early stopping: no better validation for 2 epochs; best at step 3' in capsys.readouterr().out
    assert [row['step'] for row in rows(run_dir, 'val_log.csv')] == ['3', '6', '9']
    assert best_weights(run_dir)['global_step'] == 3
    assert open_tensors(str(run_dir)).path == f'{run_dir}/best.ckpt-3'  # the next stage starts from it
    assert weights(run_dir)['global_step'] == 9
    for choice, expected in (('', 'best.ckpt-3'), ('best', 'best.ckpt-3'), ('last', 'model.ckpt-9')):
        _, metrics = score(run_dir, runs.manifest('audio_gru'), tmp_path / 'scores', checkpoint=choice)
        assert metrics['checkpoint'] == expected

    def kept():
        paths = [*run_dir.glob('model.ckpt*'), *run_dir.glob('*_log.csv'), *run_dir.glob('best*')]
        return {path: path.read_bytes() for path in paths}

    before = kept()
    train(config, resume=True, overwrite=False)
    assert 'early stopping' in capsys.readouterr().out
    assert kept() == before


def test_best_checkpoint_has_the_highest_accuracy(runs, tmp_path):
    """If epochs tie, the first counts."""
    run_dir = tmp_path / 'run'
    train(runs.config('audio_gru', run_dir, early_stopping=2), resume=False, overwrite=False)
    logged = rows(run_dir, 'val_log.csv')
    accuracies = [float(row['accuracy']) for row in logged]
    best = logged[accuracies.index(max(accuracies))]
    assert best_weights(run_dir)['global_step'] == int(best['step'])


def test_reinit_fc_makes_dense_layers_fresh(runs, tmp_path):
    source, run_dir = runs['finetune'], tmp_path / 'run'
    settings = {'init_from': source, 'learning_rate': 1e-12, 'max_steps': 1, 'train_epochs': '1', 'seed': 3}
    train(runs.config('finetune', run_dir, reinit_fc=True, **settings), resume=False, overwrite=False)
    report = (run_dir / 'restored.txt').read_text()
    assert '# vgg_face: 26 of 32 variables restored, 6 fresh' in report
    fresh = {line.split('\t')[0] for line in report.splitlines() if line.endswith('fresh: --reinit_fc')}
    assert fresh == {f'vgg_face/{layer}/{kind}' for layer in ('fc6', 'fc7', 'fc8') for kind in ('weights', 'biases')}
    theirs, ours = weights(source), weights(run_dir)
    for name in (name for name in theirs if name.startswith('vgg_face/')):
        is_equal = np.allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-9)
        assert is_equal == (name not in fresh), name


def test_other_readings_of_networks_train_and_are_scored(runs, tmp_path):
    """A temporal run of plain, wrapped cells in two stacks, and early fusion on it with weights over time."""
    first, second = tmp_path / 'temporal', tmp_path / 'fused'
    settings = {'rnn_cell': 'rnn', 'rnn_layers': 2, 'bidirectional': True, 'bidirectional_kind': 'stacks'}
    settings |= {'attention': True, 'attention_kind': 'wrapper', 'attention_length': 3, 'fc6_dropout': 0.5}
    settings |= {'vgg_pooling': 'same', 'image_size': 48, 'feature_cache': tmp_path / 'cache', 'train_epochs': '1,0'}
    train(runs.config('temporal', first, init_from=runs['finetune'], **settings), resume=False, overwrite=False)
    report = (first / 'restored.txt').read_text()
    assert '# vgg_face: 26 of 28 variables restored, 2 fresh' in report
    assert 'fresh: on another last map, of 26 inputs and 205 units' in report  # 2x2 instead of 1x1
    changes = {'image_size': 48, 'attention': True, 'attention_kind': 'softmax', 'train_epochs': '1', 'max_steps': 2}
    config = runs.config('early_fusion', second, init_from=first, **changes)
    train(config, resume=False, overwrite=False)
    report = (second / 'restored.txt').read_text()
    assert '# vgg_face: 28 of 28 variables restored' in report  # the pools are those of the first run
    assert '# temporal: 40 of 40 variables restored' in report
    for name, run_dir in (('temporal', first), ('early_fusion', second)):
        (logged,) = rows(run_dir, 'val_log.csv')[-1:]
        _, metrics = score(run_dir, runs.manifest(name), tmp_path / f'scores_{name}', batch_size=1)
        assert int(logged['correct']) == metrics['correct']
        assert json.loads((run_dir / 'convention.json').read_text())['pool'] == 'same'


def test_windows_of_one_frame_score_every_video(runs, tmp_path):
    run_dir = tmp_path / 'run'
    train(runs.config('audio_gru', run_dir, seq_len=1, max_steps=2), resume=False, overwrite=False)
    score(run_dir, runs.manifest('audio_gru'), tmp_path)
    results = read_results(tmp_path / 'results_val.txt')
    assert results.frames.tolist() == [3, 0, 6, 2, 4, 5]


ALL_AT_ONCE = {
    **{'class_weights': 'sqrt', 'loss': 'focal', 'focal_gamma': 1.5, 'island_weight': 0.01, 'locality_weight': 0.01},
    **{'locality_neighbours': 2, 'l2': 1e-3, 'clip_norm': 0.5, 'augment': 'all', 'audio_noise': 0.1},
    **{'audio_time_mask': 0.3, 'dropout': 0.5, 'rnn_dropout': 0.3, 'seed': 5},
}


def test_settings_beyond_the_dissertation_repeat_to_the_bit(runs, tmp_path):
    settings = {**ALL_AT_ONCE, 'fusion_option': 1, 'init_from': '', 'audio_run_dir': '', 'train_epochs': '2'}
    first, second = (runs.config('early_fusion', tmp_path / name, **settings) for name in ('first', 'second'))
    train(first, resume=False, overwrite=False)
    train(second, resume=False, overwrite=False)
    assert_same_run(tmp_path / 'first', tmp_path / 'second')
    assert all(np.isfinite(value).all() for value in weights(tmp_path / 'first').values())
    centres = weights(tmp_path / 'first')['island/centres']
    assert centres.shape == (7, 5)
    assert (np.abs(centres).sum(axis=1) > 0).all()


@pytest.mark.parametrize(
    ('setting', 'value'),
    [
        *(('class_weights', 'balanced'), ('loss', 'focal'), ('island_weight', 0.1), ('locality_weight', 0.1)),
        *(('l2', 0.01), ('clip_norm', 0.01), ('audio_noise', 0.5), ('audio_time_mask', 0.9), ('seed', 1)),
    ],
)
def test_each_setting_changes_training(runs, tmp_path, setting, value):
    """Compares Adam's moments after one step, because its steps hide the size of gradients."""
    run_dir = tmp_path / 'run'
    changes = {
        'max_steps': 1,
        'val_manifest': '',
        'batch_size': 11,
    }  # all windows, so that each has neighbours of its class
    if not (runs.folder / 'plain').exists():
        train(runs.config('audio_gru', runs.folder / 'plain', **changes), resume=False, overwrite=False)
    train(runs.config('audio_gru', run_dir, **changes, **{setting: value}), resume=False, overwrite=False)
    plain, ours = weights(runs.folder / 'plain'), weights(run_dir)
    moments = [name for name in plain if name.endswith('/Adam')]
    assert moments
    assert any((plain[name] != ours[name]).any() for name in moments)


def test_views_change_logits_but_one_view_does_not(runs, tmp_path):
    run_dir, manifest = tmp_path / 'run', runs.manifest('temporal')
    train(runs.config('temporal', run_dir, val_manifest='', max_steps=1), resume=False, overwrite=False)
    plain, _ = score(run_dir, manifest, tmp_path / 'plain')
    one, _ = score(run_dir, manifest, tmp_path / 'one', tta_views=1)
    score(run_dir, manifest, tmp_path / 'three', tta_views=3)
    assert one == plain
    logits = [read_results(tmp_path / name / 'results_val.txt').logits for name in ('plain', 'three')]
    has_frames = read_results(tmp_path / 'plain' / 'results_val.txt').frames > 0
    assert (logits[0][has_frames] != logits[1][has_frames]).all()
    assert (logits[0][~has_frames] == logits[1][~has_frames]).all()


def test_functionals_of_another_set_keep_their_size(runs, tmp_path):
    """A run on 23 features refuses the weights and the data of another set."""
    changes = {}
    for split in ('train', 'val'):
        source = read_manifest(runs.data / f'{split}_functionals.txt', item='video')
        rng = np.random.default_rng(0)
        for video in source.videos:
            write_audio(tmp_path / 'functionals_own' / Path(video.audio[0]).name, rng.normal(size=23))
        text = Path(source.path).read_text().replace('functionals/', 'functionals_own/')
        (tmp_path / f'{split}_functionals_own.txt').write_text(text)
        changes[f'{split}_manifest'] = str(tmp_path / f'{split}_functionals_own.txt')
    train(runs.config('ffn', tmp_path / 'run', max_steps=1, **changes), resume=False, overwrite=False)
    assert weights(tmp_path / 'run')['ffn/hidden_1/weights'].shape[0] == 23
    assert len((tmp_path / 'run' / 'audio_scaling.txt').read_text().splitlines()) == 25
    score(tmp_path / 'run', changes['val_manifest'], tmp_path / 'out')
    assert len(read_results(tmp_path / 'out' / 'results_val.txt').video_ids) == 5
    with pytest.raises(InputError, match=r'6552 audio features.*; expected the 23 of the run'):
        score(tmp_path / 'run', runs.data / 'val_functionals.txt', tmp_path / 'refused')
    config = runs.config('ffn', tmp_path / 'other', init_from=tmp_path / 'run')
    with pytest.raises(InputError, match=r'6552 audio features.*; expected the 23 of the run'):
        train(config, resume=False, overwrite=False)
