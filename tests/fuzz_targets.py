# SPDX-License-Identifier: Apache-2.0
"""Targets of the fuzzer: for each kind of file, a function that writes valid files and a function that reads them.

Valid files are written by the project's own writers, or by helpers of other tests.
"""

import json
import pickle
import shutil
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import public_nets as public
import test_datasets
import test_report
from conftest import make_clip, tiny_config, write_audio
from safetensors.numpy import save_file
from test_weights import save_checkpoint, write_matconvnet

from fer import emotions
from fer.data.audio import LLD, Scaling, fit_scaling, read_audio, read_scaling, scale_features, write_scaling
from fer.data.frame_cache import open_frame_cache
from fer.errors import InputError
from fer.experiment.configs import read_configs
from fer.experiment.plan import task_states
from fer.experiment.submissions import Submission, read_submissions, write_submission
from fer.experiment.tasks import Places, make_tasks
from fer.fusion.fuse import fuse
from fer.fusion.requests import FusionRequest
from fer.fusion.submission import check_submission, read_expected
from fer.manifest import LedgerRow, read_ledger, read_manifest, write_ledger, write_manifest
from fer.nets.conventions import Convention, source_pixels
from fer.nets.weights.convention_file import read_convention, write_convention
from fer.nets.weights.identify import open_weights
from fer.nets.weights.starter import CARD_FILE, FORMAT_VERSION, WEIGHTS_FILE, open_starter, read_card
from fer.nets.weights.values import num_classes, read_value, value_shape
from fer.prepare.datasets import DATASETS, Options
from fer.prepare.layout import SourceVideo, set_aside_unusable
from fer.prepare.media import MediaError, extract_wav, read_frames
from fer.prepare.prepared import Prepared, without_audio, write_split
from fer.prepare.records import load_record, save_record
from fer.prepare.smile.extract import read_wav
from fer.prepare.statistics.counting import count_skipped, summarise
from fer.prepare.statistics.splits import read_split as read_statistics_split
from fer.prepare.statistics.write import write_statistics
from fer.prepare.stills import link_faces, prepare_stills
from fer.prepare.summary import report as report_split
from fer.prepare_flags import (
    clip_contexts,
    compare_clip_contexts,
    read_prepare_flags,
    read_run_prepare_flags,
    write_run_prepare_flags,
)
from fer.report.figures import draw_all_curves
from fer.report.live.comparison import compare_runs
from fer.report.live.details import read_run
from fer.report.live.folders import Root
from fer.report.live.listing import open_run
from fer.report.live.pages import write_comparison, write_list, write_run
from fer.report.page import write_report
from fer.report.runs import read_seeds
from fer.report.statistics import draw_statistics
from fer.report.tables import compile_report
from fer.results.metrics import score_results, write_metrics
from fer.results.results_file import Results, read_results, write_results
from fer.results.videos import prior_logits
from fer.runs.config import TrainConfig, write_flagfile
from fer.runs.flagfiles import read_settings
from fer.runs.names import CLASS_COUNTS_FILE, FLAGS_FILE, PREPARE_FLAGS_FILE, SCALING_FILE
from fer.runs.provenance import digest
from fer.runs.status import write_status
from fer.score.predictions import PROBABILITY_COLUMNS, read_predictions
from fer.score.sheet import score_predictions
from fer.starter.listing import describe_cards
from fer.tf1 import tf
from fer.training.feature_store import FeatureStore
from fer.training.log import RunLog, draw_log
from fer.training.run_folder import latest_checkpoint, read_blueprint, read_class_counts

OUTPUT = 'out'  # the only folder, beside the inputs, that a reader may write to
VIDEOS = 4
RUN = '6.2-t1-r13'  # the report plots its curves


class Target(NamedTuple):
    """A kind of file to damage."""

    make: Callable[[Path], list[Path]]  # writes valid files below an empty folder, and returns the files to damage
    read: Callable[[Path], object]  # reads the folder as the commands do
    inputs: int  # number of inputs, of the 20,000


# Manifests and ledgers


def make_manifest(folder: Path, columns: str) -> list[Path]:
    rows = []
    for video in range(VIDEOS):
        for frame in (1, 2, 3):
            names = {'audio': f'clips/a/v{video}/{frame:05d}.csv', 'image': f'faces/a/v{video}/{frame:05d}.jpg'}
            names['label'] = emotions.to_one_hot(video)
            rows.append(tuple(names[column] for column in columns.split()))
    if columns.startswith('image'):
        rows.insert(0, ('faces/a, "b"/v9/1.jpg', *rows[0][1:]))
    write_manifest(folder / 'train.txt', rows)
    return [folder / 'train.txt']


def read_manifests(folder: Path) -> None:
    for item in ('frame', 'still'):
        read_manifest(folder / 'train.txt', item=item, min_frames=1)


def make_ledger(folder: Path) -> list[Path]:
    make_manifest(folder, 'image label')
    (folder / 'train.txt').write_text((folder / 'train.txt').read_text().partition('\n')[2])
    rows = [LedgerRow(f'v{video}', video, 9, 3, 1.25, '') for video in range(VIDEOS)]
    write_ledger(folder / 'train.ledger.csv', [*rows, LedgerRow('w', 1, 0, 0, None, 'no_face')])
    return [folder / 'train.ledger.csv']


def read_ledgers(folder: Path) -> None:
    read_ledger(read_manifest(folder / 'train.txt'))
    summarise(read_statistics_split(folder / 'train.txt'))


# Results and fusion


def make_results(folder: Path) -> list[Path]:
    rng = np.random.default_rng(3)
    labels = np.arange(14) % 7
    for name in 'ab':
        (folder / name).mkdir()
        logits = rng.normal(0, 1, (14, 7)) + np.eye(7)[labels]
        predictions = logits.argmax(1)
        ids, fallback = [f'v{row}' for row in range(14)], ['-'] * 13 + ['no_face']
        results = Results(ids, logits, predictions, labels, np.full(14, 5), fallback)
        write_results(folder / name / 'results_val.txt', results)
    return [folder / 'a' / 'results_val.txt', folder / 'b' / 'results_val.txt']


def read_result(folder: Path) -> None:
    for name in 'ab':
        score_results(read_results(folder / name / 'results_val.txt'), name)


def make_predictions(folder: Path) -> list[Path]:
    columns = ','.join(PROBABILITY_COLUMNS)
    rows = [f'v{row},{emotions.EMOTIONS[row]},' + ','.join(f'{k == row:.1f}' for k in range(7)) for row in range(7)]
    (folder / 'theirs.csv').write_text('\n'.join([f'id,label,{columns}', *rows, '']))
    write_ledger(folder / 'val.ledger.csv', [LedgerRow(f'v{row}', row, 9, 9, None, '') for row in range(7)])
    return [folder / 'theirs.csv', folder / 'val.ledger.csv']


def score_anyones(folder: Path) -> None:
    score_predictions(read_predictions(folder / 'theirs.csv', folder / 'val.ledger.csv'))


def fuse_results(folder: Path) -> None:
    paths = [str(folder / name / 'results_val.txt') for name in 'ab']
    output = folder / OUTPUT
    fuse(
        FusionRequest(
            weights_from=paths,
            method='5',
            output=str(output / 'fused'),
            repeats=1,
            submission=str(output / 'submission'),
        )
    )


def make_expected(folder: Path) -> list[Path]:
    (folder / 'list.txt').write_text('# videos\nv1.avi\nv2.mp4\nv3\n')
    rows = [LedgerRow(f'v{video}', None, 9, 3, 1.25, '') for video in range(VIDEOS)]
    write_ledger(folder / 'test.ledger.csv', rows)
    (folder / 'submission').mkdir()
    (folder / 'submission' / 'v1.txt').write_text('Angry\n')
    return [folder / 'list.txt', folder / 'test.ledger.csv', folder / 'submission' / 'v1.txt']


def read_expecteds(folder: Path) -> None:
    for name in ('list.txt', 'test.ledger.csv'):
        check_submission(str(folder / 'submission'), read_expected(str(folder / name)))


# Audio


def make_audio(folder: Path) -> list[Path]:
    rng = np.random.default_rng(4)
    for frame in (1, 2):
        write_audio(folder / f'clips/v0/{frame:05d}.csv', rng.normal(0, 1, LLD))
    write_manifest(folder / 'train.txt', [(f'clips/v0/{frame:05d}.csv', '0100000') for frame in (1, 2)])
    return [folder / 'clips/v0/00001.csv', folder / 'clips/v0/00002.csv']


def read_audio_files(folder: Path) -> None:
    audio = read_audio(read_manifest(folder / 'train.txt'), LLD, 'mean')
    scaling = fit_scaling(audio.names, audio.values, 'minmax')
    for values in audio.values:
        scale_features(values, scaling)


def make_scaling(folder: Path) -> list[Path]:
    names = [f'feature_{number}' for number in range(20)]
    mean = np.linspace(-1, 1, 20)
    write_scaling(folder / SCALING_FILE, Scaling('zscore', names, mean, mean, mean**2 + 0.1))
    return [folder / SCALING_FILE]


def read_scalings(folder: Path) -> None:
    scaling = read_scaling(folder / SCALING_FILE)
    scale_features(np.ones((3, len(scaling.names)), np.float32), scaling)


def make_wav(folder: Path) -> list[Path]:
    with wave.open(str(folder / 'audio.wav'), 'wb') as file:
        file.setparams((1, 2, 16000, 0, 'NONE', ''))
        file.writeframes(np.random.default_rng(5).integers(-999, 999, 3000).astype('<i2').tobytes())
    return [folder / 'audio.wav']


# Flags


def make_flags(folder: Path) -> list[Path]:
    config = tiny_config(folder, 'audio', 'audio_gru', val_manifest='', train_manifest='train.txt')
    write_flagfile(folder / FLAGS_FILE, config)
    make_scaling(folder)
    return [folder / FLAGS_FILE]


def read_flags(folder: Path) -> None:
    read_blueprint(folder)


def make_flagfile(folder: Path) -> list[Path]:
    place = folder / 'configs' / '6.2-finetune' / 't1-vgg'
    place.mkdir(parents=True)
    (place / 'r1.flags').write_text(
        '# a run\n--stage=finetune\n--model=vgg_face\n--train_manifest=data/afew/train.txt\n'
        '--val_manifest=data/afew/val.txt\n--learning_rate=1e-5\n--noreinit_fc\n--run_dir=runs/a/6.2-t1-r1-seed0\n'
    )
    (place / 'r2.flags').write_text(
        '--results=runs/a/6.2-t1-r1-seed0/results_val.txt\n--method=2\n--output=runs/b/6.2-t1-r2-seed0\n'
    )
    return [place / 'r1.flags', place / 'r2.flags']


def read_flagfiles(folder: Path) -> None:
    for path in sorted((folder / 'configs').glob('*/*/*.flags')):
        read_settings(path)
    make_tasks(read_configs(str(folder / 'configs')), ['all'], [0, 1], Places('data', 'weights', 'runs'), [], '')


# Lists of datasets


def make_fer2013(folder: Path) -> list[Path]:
    usages = ('Training', 'PublicTest', 'PrivateTest')
    rows = [test_datasets.fer2013_line(emotion, usage) for usage in usages for emotion in range(2)]
    (folder / 'fer2013.csv').write_text('emotion,pixels,Usage\n' + ''.join(rows))
    return [folder / 'fer2013.csv']


def make_rafdb(folder: Path) -> list[Path]:
    test_datasets.make_rafdb(folder)
    return [folder / 'EmoLabel/list_patition_label.txt']


def make_affectnet(folder: Path) -> list[Path]:
    for split in ('training', 'validation'):
        lines = [test_datasets.affectnet_line(f'{k}/{split}{k}.jpg', k) for k in range(3)]
        (folder / f'{split}.csv').write_text(test_datasets.AFFECTNET_HEADER + ''.join(lines))
        for k in range(3):
            test_datasets.paint(folder / f'Manually_Annotated_Images/{k}/{split}{k}.jpg')
    return [folder / 'training.csv', folder / 'validation.csv']


def make_affectnet_arrays(folder: Path) -> list[Path]:
    test_datasets.make_affectnet_arrays(folder)
    return [folder / 'train_set/annotations/0_exp.npy', folder / 'val_set/annotations/5_exp.npy']


def make_dfew(folder: Path) -> list[Path]:
    test_datasets.make_dfew(folder)
    for number in (1, 2, 3, 4, 5, 6, 7, 16372):
        test_datasets.paint_faces(folder / f'Clip/clip_224x224/{number:05d}', 2)
    return sorted(folder.rglob('set_1.csv'))


def make_ferv39k(folder: Path) -> list[Path]:
    test_datasets.make_ferv39k(folder)
    return sorted(folder.rglob('*_All.csv'))


def prepare(dataset: str, folder: Path) -> None:
    """Prepares images and folders of faces as `python -m fer.prepare` does."""
    output = folder / OUTPUT
    output.mkdir()
    splits = DATASETS[dataset](folder, Options())
    set_aside_unusable(splits)
    for split, items in splits.items():
        if dataset in ('dfew', 'ferv39k'):
            done = link_faces(split, items, output)
        else:
            done = prepare_stills(split, items, folder, output)
        write_split(split, done, output)
        report_split(split, items, done, output)
        if any(not one.row.gap for one in done):
            item = 'frame' if isinstance(items[0], SourceVideo) else 'still'
            read_ledger(read_manifest(output / f'{split}.txt', item=item, min_frames=1))


def make_images(folder: Path) -> list[Path]:
    paths = []
    for index, (name, kind) in enumerate([('Happy', 'bmp'), ('Sad', 'png'), ('Fear', 'jpg'), ('Anger', 'webp')]):
        for split in ('train', 'val'):
            paths.append(test_datasets.paint(folder / split / name / f'{index}.{kind}', 40 * index + 9))
    return [path for path in paths if path.parent.parent.name == 'train']


def make_record(folder: Path) -> list[Path]:
    (folder / OUTPUT / 'faces').mkdir(parents=True)
    (folder / OUTPUT / 'faces' / '1.jpg').write_bytes(b'jpg')
    done = without_audio(LedgerRow('v1', 3, 9, 1, 0.5, ''), ['faces/1.jpg'], '')
    done = done._replace(statuses={'kept': 1}, clips=['clips/1.csv'], functionals='functionals/1.csv')
    save_record(folder / OUTPUT, 'v1', 'key', ['faces/1.jpg'], done)
    return [folder / OUTPUT / 'records' / 'v1.json']


def read_record(folder: Path) -> None:
    done = load_record(folder / OUTPUT, 'v1', 'key')
    if done is not None:
        assert isinstance(done, Prepared)
        write_split('train', [done], folder / OUTPUT, ('clips', 'functionals'))
        report_split('train', [SourceVideo('v1', 3, folder / 'v1.avi', 'v1')], [done], folder / OUTPUT)


def make_frames(folder: Path) -> list[Path]:
    make_ledger(folder)
    for video in range(VIDEOS):
        faces = folder / 'faces' / 'a' / f'v{video}'
        faces.mkdir(parents=True)
        rows = ''.join(f'{k},{k / 25:.2f},{"kept" if k < 4 else "no_face"},,0.99,1,1,9,9\n' for k in range(1, 10))
        (faces / 'frames.csv').write_text('frame,time,status,sound,score,left,top,width,height\n' + rows)
    return sorted(folder.rglob('frames.csv'))


def read_frames_tables(folder: Path) -> None:
    count_skipped(read_statistics_split(folder / 'train.txt'))


def make_statistics(folder: Path) -> list[Path]:
    make_frames(folder)
    write_statistics(folder, folder / 'statistics', ['train'])
    return [folder / 'statistics' / f'{kind}_train.csv' for kind in ('classes', 'lengths')]


# Run folders


def make_class_counts(folder: Path) -> list[Path]:
    counts = dict(zip(emotions.EMOTIONS, range(5, 12), strict=True))
    (folder / CLASS_COUNTS_FILE).write_text(json.dumps(counts, indent=1))
    return [folder / CLASS_COUNTS_FILE]


def read_counts(folder: Path) -> None:
    assert np.isfinite(prior_logits(read_class_counts(folder))).all()


def make_prepare_flags(folder: Path) -> list[Path]:
    text = '--dataset=afew\n--clip_context=isolated\n--source=raw\n'
    (folder / 'prepare_flags.txt').write_text(text)
    write_run_prepare_flags(folder / PREPARE_FLAGS_FILE, {'train.txt': read_prepare_flags(folder / 'train.txt')})
    return [folder / 'prepare_flags.txt', folder / PREPARE_FLAGS_FILE]


def read_all_prepare_flags(folder: Path) -> None:
    read = {'train.txt': read_prepare_flags(folder / 'train.txt')}
    kept = read_run_prepare_flags(folder / PREPARE_FLAGS_FILE)
    compare_clip_contexts({'a': clip_contexts(read), 'b': clip_contexts(kept)})


def make_convention(folder: Path) -> list[Path]:
    write_convention(folder, 'resnet50', Convention(order='BGR'), 'fresh')
    return [folder / 'convention.json']


def read_conventions(folder: Path) -> None:
    _, convention = read_convention(folder)
    with tf.Graph().as_default():
        source_pixels(tf.zeros([1, 4, 4, 3]), convention)


def make_starter(folder: Path) -> list[Path]:
    """Writes a network of the starter set, as far as it is read before its graph is built."""
    write_flagfile(folder / FLAGS_FILE, TrainConfig(init_from='starter:face'))
    save_file({'resnet50/logits/biases': np.zeros(7, np.float16)}, folder / WEIGHTS_FILE)
    paths = [folder / name for name in (FLAGS_FILE, WEIGHTS_FILE)]
    card = {
        'format_version': FORMAT_VERSION,
        **dict.fromkeys(('name', 'notice', 'summary'), 'face'),
        'files': {path.name: {'sha256': digest(path)} for path in paths},
        'recipe': {'step': 3},
        'data': [{'title': 'FER2013'}],
        'network': {'model': 'resnet50'},
        'scores': {'of': 'it', 'total': 3589, 'accuracy': 0.5, 'interval_95': [0.4, 0.6], 'f1': 0.5},
        'calibration': {'ece_after': 0.1},
        'megabytes': 1.5,
    }
    (folder / CARD_FILE).write_text(json.dumps(card, indent=1))
    return [folder / CARD_FILE, *paths]


def read_starter(folder: Path) -> None:
    card = read_card(folder)
    describe_cards([('starter:face', card)])
    open_starter(folder).read('resnet50/logits/biases')


def make_run(folder: Path) -> list[Path]:
    run = test_report.make_run(folder / 'runs', RUN, seed=0)
    other = test_report.make_run(folder / 'runs', RUN, seed=1)
    fusion = test_report.make_fusion(folder / 'runs', '6.5l-t1-r1')
    write_status(folder / 'runs', f'{RUN}-seed1', 'failed', 'train.py: exit code 2')
    (other / 'finished.json').unlink()
    paths = [*run.iterdir(), *fusion.iterdir(), folder / 'runs' / 'status' / f'{RUN}-seed1.txt']
    return sorted(path for path in paths if path.suffix in ('.json', '.csv', '.txt'))


def read_report(folder: Path) -> None:
    found = read_seeds(folder / 'runs', test_report.CONFIGS)
    write_report(folder / OUTPUT, compile_report(found), test_report.NO_FIGURES, '')


def read_pages(folder: Path) -> None:
    """Writes every page of the live view, which shows damaged files as problems and never refuses them."""
    root = Root.at('runs', str(folder / 'runs'))
    write_list(root, {}, None)
    run, fusion = (open_run(root, name) for name in (f'somewhere/{RUN}-seed0', 'late/6.5l-t1-r1-seed0'))
    for one in (run, fusion):
        write_run(read_run(root, None, one))
    write_comparison(compare_runs(root, run, fusion))


def make_logs(folder: Path) -> list[Path]:
    run = test_report.make_run(folder / 'runs', RUN, seed=0)
    return [run / 'train_log.csv', run / 'val_log.csv']


def read_curves(folder: Path) -> None:
    draw_all_curves(read_seeds(folder / 'runs', test_report.CONFIGS).seeds)


def make_resumed_logs(folder: Path) -> list[Path]:
    run = test_report.make_run(folder, RUN, seed=0)
    shutil.copytree(run, folder / OUTPUT)
    return [folder / OUTPUT / 'train_log.csv', folder / OUTPUT / 'val_log.csv']


def resume_logs(folder: Path) -> None:
    with RunLog(folder / OUTPUT, 12, tiny_config(folder, 'temporal')) as log:
        log.best_step()
    draw_log(folder / OUTPUT, 'a run')


def make_plan(folder: Path) -> list[Path]:
    make_flagfile(folder)
    run = folder / 'runs' / 'a' / '6.2-t1-r1-seed0'
    run.mkdir(parents=True)
    (run / 'finished.json').write_text('{"step": 24, "reason": "epochs", "checkpoint": "model.ckpt-24"}')
    (run / 'train_log.csv').write_text('step,epoch\n1,1\n24,1\n')
    make_flags(run)
    for name in ('6.2-t1-r1-seed0', '6.2-t1-r2-seed0'):
        write_status(folder / 'runs', name, 'started', job='123.server')
    results = test_report.make_results(1)
    write_results(run / 'results_val.txt', results)
    write_metrics(run / 'metrics_val.json', score_results(results, '') | {'checkpoint': 'model.ckpt-24'})
    place = folder / 'runs' / 'jobs' / '20260101'
    place.mkdir(parents=True)
    tasks = ['6.2-t1-r1-seed0', '6.2-t1-r2-seed0']
    write_submission(place / 'a.json', Submission(tasks[:1], ['123[].server'], True, []))
    write_submission(place / 'b.json', Submission(tasks[1:], ['124.server'], False, tasks[:1]))
    found = [run / name for name in ('finished.json', 'train_log.csv', 'metrics_val.json', FLAGS_FILE)]
    return [*found, *sorted(place.iterdir()), *sorted((folder / 'runs' / 'status').iterdir())]


def read_plan(folder: Path) -> None:
    configs, runs = read_configs(str(folder / 'configs')), str(folder / 'runs')
    task_states(make_tasks(configs, ['all'], [0], Places('data', 'weights', runs), [], ''), runs)
    read_submissions(runs)


def make_cache(folder: Path) -> list[Path]:
    for frame in (1, 2):
        test_datasets.paint(folder / f'faces/v0/{frame}.jpg', 90, 16)
    write_manifest(folder / 'train.txt', [(f'faces/v0/{frame}.jpg', '0100000') for frame in (1, 2)])
    read_cache(folder)
    return sorted(path for path in (folder / OUTPUT).glob('*/*') if path.suffix in ('.u8', '.index'))


def read_cache(folder: Path) -> None:
    (video,) = open_frame_cache([read_manifest(folder / 'train.txt')], 8, str(folder / OUTPUT), 0.001)
    if video is not None:
        first, last = video.offsets[:2]
        assert video.pixels[first:last].size == video.sizes[0].prod() * 3


def make_store(folder: Path) -> list[Path]:
    store = FeatureStore(folder / OUTPUT, {'model': 'x'}, 5, 10**6)
    with store.filling(1000):
        store.add([(f'{k:032x}', np.full(5, k, np.float32)) for k in range(4)])
    store.close()
    return sorted(path for path in store.folder.iterdir() if path.suffix in ('.npy', '.csv', '.json'))


def read_store(folder: Path) -> None:
    store = FeatureStore(folder / OUTPUT, {'model': 'x'}, 5, 10**6)
    try:
        found = [store.find(f'{k:032x}') for k in range(4)]
        store.gather(np.array([place for place in found if place], int).reshape(-1, 2))
    finally:
        store.close()


def make_state(folder: Path) -> list[Path]:
    with tf.Graph().as_default(), tf.Session() as session:
        session.run(tf.Variable([1.0, 2.0], name='x').initializer)
        saver = tf.train.Saver(max_to_keep=3)
        for step in (4, 8):
            saver.save(session, str(folder / 'model.ckpt'), step, write_meta_graph=False)
    return [folder / 'checkpoint']


def read_state(folder: Path) -> None:
    found = latest_checkpoint(folder)
    assert found is None or Path(found).parent == folder


# Weights


def small_vgg() -> dict:
    return public.random_vgg(channels=(2, 2, 2, 2, 32), units=8, map_size=2)


def keras_vgg() -> dict[str, list[np.ndarray]]:
    """Returns arrays by the names of Keras' VGG16 layers."""
    names = {'fc6': 'fc1', 'fc7': 'fc2', 'fc8': 'predictions'}
    return {names.get(key) or f'block{key[0]}_conv{key[1]}': list(arrays) for key, arrays in small_vgg().items()}


def write_keras(root: h5py.Group) -> None:
    layers = keras_vgg()
    root.attrs['layer_names'] = [name.encode() for name in layers]
    for name, arrays in layers.items():
        group = root.create_group(name)
        group.attrs['weight_names'] = [f'{name}/{kind}:0'.encode() for kind in ('kernel', 'bias')]
        for kind, array in zip(('kernel', 'bias'), arrays, strict=True):
            group[f'{name}/{kind}:0'] = array


def make_keras(folder: Path, form: str) -> list[Path]:
    path = folder / 'vgg16.h5'
    with h5py.File(path, 'w') as file:
        if form == 'order':
            counts = {'conv2d': 0, 'dense': 0}
            for name, arrays in keras_vgg().items():
                kind = 'conv2d' if 'conv' in name else 'dense'
                layer = f'{kind}_{counts[kind]}' if counts[kind] else kind
                counts[kind] += 1
                for number, array in enumerate(arrays):
                    file[f'layers/{layer}/vars/{number}'] = array
        else:
            write_keras(file.create_group('model_weights') if form == 'whole' else file)
    return [path]


def make_safetensors(folder: Path) -> list[Path]:
    save_file(public.torch_vgg(small_vgg()), folder / 'vgg16.safetensors')
    return [folder / 'vgg16.safetensors']


def make_mat(folder: Path, form: str) -> list[Path]:
    write_matconvnet(folder / 'vgg.mat', form, small_vgg(), (120.5, 101.25, 90.0))
    return [folder / 'vgg.mat']


def make_checkpoint(folder: Path, version: int) -> list[Path]:
    net = public.affwild(small_vgg(), recurrent=False)
    save_checkpoint(folder / 'weights', net, write_version=version)
    return sorted(folder.iterdir())


def make_foreign(folder: Path) -> list[Path]:
    with zipfile.ZipFile(folder / 'model.keras', 'w') as archive:
        archive.writestr('model.weights.h5', 'x' * 100)
        archive.writestr('../../escape', 'x')
    (folder / 'model.pth').write_bytes(pickle.dumps({'x': 1}))
    shutil.make_archive(str(folder / 'model'), 'tar', folder, 'model.pth')
    return [folder / name for name in ('model.keras', 'model.pth', 'model.tar')]


def read_weights(path: Path) -> None:
    weights = open_weights(str(path))
    num_classes(weights)
    for take in weights.source.table.values():
        if all(name in weights.names for name in take.names):
            try:
                value_shape(weights, take)
            except ValueError:  # the restore report lists it
                continue
            read_value(weights, take)


def read_foreign(folder: Path) -> None:
    """Tries formats that are always refused, even when the file is not damaged."""
    errors = []
    for name in ('model.keras', 'model.pth', 'model.tar'):
        try:
            read_weights(folder / name)
        except InputError as error:
            errors.append(error)
    assert len(errors) == 3


# Media


def make_video(folder: Path) -> list[Path]:
    make_clip(folder / 'a.avi', 25, 0.2)
    make_clip(folder / 'b.mp4', 25, 0.2)
    return [folder / 'a.avi', folder / 'b.mp4']


def read_videos(folder: Path) -> None:
    for name in ('a.avi', 'b.mp4'):
        try:
            for _ in read_frames(folder / name):
                pass
            (folder / OUTPUT).mkdir(exist_ok=True)
            extract_wav(folder / name, folder / OUTPUT / 'a.wav')
        except MediaError:  # the ledger lists it
            continue


TARGETS = {
    'manifest of faces': Target(lambda f: make_manifest(f, 'image label'), read_manifests, 1300),
    'manifest of audio': Target(lambda f: make_manifest(f, 'audio label'), read_manifests, 600),
    'manifest of both': Target(lambda f: make_manifest(f, 'audio image label'), read_manifests, 900),
    'manifest without labels': Target(lambda f: make_manifest(f, 'image'), read_manifests, 500),
    'ledger': Target(make_ledger, read_ledgers, 1000),
    'results file': Target(make_results, read_result, 1300),
    'results files, fused': Target(make_results, fuse_results, 200),
    'predictions of another program': Target(make_predictions, score_anyones, 300),
    'list for a submission': Target(make_expected, read_expecteds, 700),
    'audio CSV': Target(make_audio, read_audio_files, 900),
    'audio_scaling.txt': Target(make_scaling, read_scalings, 600),
    'wav': Target(make_wav, lambda f: read_wav(f / 'audio.wav'), 700),
    'flags.txt': Target(make_flags, read_flags, 900),
    'flagfile': Target(make_flagfile, read_flagfiles, 700),
    'fer2013.csv': Target(make_fer2013, lambda f: prepare('fer2013', f), 500),
    'list of RAF-DB': Target(make_rafdb, lambda f: prepare('rafdb', f), 600),
    'lists of AffectNet': Target(make_affectnet, lambda f: prepare('affectnet', f), 600),
    'arrays of AffectNet': Target(make_affectnet_arrays, lambda f: prepare('affectnet', f), 500),
    'lists of DFEW': Target(make_dfew, lambda f: prepare('dfew', f), 600),
    'lists of FERV39k': Target(make_ferv39k, lambda f: prepare('ferv39k', f), 600),
    'images in folders': Target(make_images, lambda f: prepare('folder', f), 500),
    'video': Target(make_video, read_videos, 60),
    'record of preparation': Target(make_record, read_record, 500),
    'frames.csv': Target(make_frames, read_frames_tables, 300),
    'statistics': Target(make_statistics, lambda f: draw_statistics([f]), 60),
    'class_counts.json': Target(make_class_counts, read_counts, 500),
    'flags of preparation': Target(make_prepare_flags, read_all_prepare_flags, 400),
    'convention.json': Target(make_convention, read_conventions, 600),
    'starter network': Target(make_starter, read_starter, 400),
    'run folder in the report': Target(make_run, read_report, 340),
    'run folder in the live view': Target(make_run, read_pages, 120),
    'logs in the report': Target(make_logs, read_curves, 60),
    'logs of a run that resumes': Target(make_resumed_logs, resume_logs, 60),
    'runs in a plan': Target(make_plan, read_plan, 500),
    'frame cache': Target(make_cache, read_cache, 80),
    'feature store': Target(make_store, read_store, 300),
    'state of checkpoints': Target(make_state, read_state, 500),
    'Keras weights': Target(lambda f: make_keras(f, 'classic'), lambda f: read_weights(f / 'vgg16.h5'), 600),
    'Keras model': Target(lambda f: make_keras(f, 'whole'), lambda f: read_weights(f / 'vgg16.h5'), 300),
    'Keras weights by order': Target(lambda f: make_keras(f, 'order'), lambda f: read_weights(f / 'vgg16.h5'), 300),
    'safetensors': Target(make_safetensors, lambda f: read_weights(f / 'vgg16.safetensors'), 700),
    'MatConvNet': Target(lambda f: make_mat(f, 'net'), lambda f: read_weights(f / 'vgg.mat'), 500),
    'MatConvNet, DagNN': Target(lambda f: make_mat(f, 'dagnn'), lambda f: read_weights(f / 'vgg.mat'), 300),
    'checkpoint': Target(
        lambda f: make_checkpoint(f, tf.train.SaverDef.V2), lambda f: read_weights(f / 'weights'), 500
    ),
    'checkpoint of one file': Target(
        lambda f: make_checkpoint(f, tf.train.SaverDef.V1), lambda f: read_weights(f / 'weights'), 300
    ),
    'archives and pickles': Target(make_foreign, read_foreign, 200),
}
