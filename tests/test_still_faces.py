# SPDX-License-Identifier: Apache-2.0
"""Stills whose faces are detected or given by boxes: aligned faces, stills without a face, and resumed runs."""

import csv
import json

import cv2
import numpy as np
import pytest
from conftest import run

from fer.manifest import read_ledger, read_manifest
from fer.prepare.detectors import DETECTORS
from fer.prepare.faces import align
from fer.prepare.still_faces import read_journal
from fer.prepare.synthetic.frames import draw_frames
from fer.prepare.synthetic.plan import clip_rng, plan_split
from fer.prepare.synthetic.script import write_script


@pytest.fixture(scope='module')
def faces():
    """Returns pictures of three synthetic people, uint8 [144, 192, 3] RGB, in which the skin detector finds a face."""
    plans = plan_split('Train', 20, seed=11)[:3]
    return [draw_frames(write_script(plan, 11), clip_rng(plan, 11, 1))[0] for plan in plans]


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[:, :, ::-1])


def prepare(tmp_path, *flags, dataset='folder', ok=True):
    places = (f'--source={tmp_path / "raw"}', f'--output={tmp_path / "data"}')
    return run('-m', 'fer.prepare', f'--dataset={dataset}', *places, *flags, ok=ok)


@pytest.fixture
def folder(faces, tmp_path):
    """Writes two pictures with a face and one without."""
    save(tmp_path / 'raw/train/Happy/1.png', faces[0])
    save(tmp_path / 'raw/train/Sad/2.png', faces[1])
    save(tmp_path / 'raw/train/Sad/empty.png', np.full((90, 120, 3), 90, np.uint8))
    return tmp_path


FLAGS = ('--detector=skin', '--image_size=40', '--jobs=1')


def test_stills_are_cut_to_faces_or_listed(folder, faces):
    done = prepare(folder, *FLAGS)
    assert 'train: 3 items, 2 usable; failures: 1 no_face' in done.out
    manifest = read_manifest(folder / 'data/train.txt', item='still')
    assert [video.video_id for video in manifest.videos] == ['stills/train/Happy/1', 'stills/train/Sad/2']
    gaps = {row.video_id: row.gap for row in read_ledger(manifest)}
    assert gaps['stills/train/Sad/empty'] == 'no_face'
    written = cv2.imread(manifest.videos[0].frames[0])[:, :, ::-1]
    (found,) = DETECTORS['skin']()(faces[0])
    expected = align(faces[0], found, 40, 0.15)
    assert np.abs(written.astype(int) - expected).mean() < 6, 'the added border moves landmarks a little'


def test_stills_are_unchanged_without_a_detector(folder):
    prepare(folder)
    assert '--detector=none\n--image_size=112\n--margin=0.0\n' in (folder / 'data/prepare_flags.txt').read_text()
    assert 'source/train/Sad/empty.png' in (folder / 'data/train.txt').read_text()
    assert not (folder / 'data/stills').exists()


def test_finished_stills_are_not_searched_again(folder, faces):
    prepare(folder, *FLAGS)
    journal = folder / 'data/records/train.stills.jsonl'
    journal.write_text(journal.read_text() + '{"key": "cut of')  # by a kill
    first = folder / 'data/stills/train/Happy/1.jpg'
    before, searched = first.stat().st_mtime_ns, len(read_journal(journal))
    save(folder / 'raw/train/Sad/2.png', faces[2])
    (folder / 'data/stills/train/Sad/2.jpg').unlink()
    prepare(folder, *FLAGS)
    assert first.stat().st_mtime_ns == before
    assert (folder / 'data/stills/train/Sad/2.jpg').exists()
    assert len(read_journal(journal)) == searched == 3
    first.write_bytes(b'damaged')
    prepare(folder, *FLAGS)
    assert first.read_bytes() != b'damaged'


def test_largest_of_several_faces_is_taken(faces, tmp_path):
    small = cv2.resize(faces[1], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    both = np.zeros((144, 192 + small.shape[1], 3), np.uint8)
    both[:, :192] = faces[0]
    both[: small.shape[0], 192:] = small
    save(tmp_path / 'raw/train/Happy/1.png', both)
    done = prepare(tmp_path, *FLAGS)
    assert '1 several faces (took the largest)' in done.out


def write_affectnet(root, faces, boxes):
    """Writes the CSV release, with an image for each box."""
    rows = []
    for number, box in enumerate(boxes):
        save(root / f'raw/Manually_Annotated_Images/1/{number}.png', faces[number % 3])
        rows.append((f'1/{number}.png', *box, '', 1, 0.5, 0.5))
    for name in ('training.csv', 'validation.csv'):
        with open(root / 'raw' / name, 'w', newline='') as file:
            writer = csv.writer(file)
            writer.writerow(
                ('subDirectory_filePath', 'face_x', 'face_y', 'face_width', 'face_height', 'facial_landmarks')
                + ('expression', 'valence', 'arousal')
            )
            writer.writerows(rows)


def test_affectnet_is_cropped_to_its_boxes(faces, tmp_path):
    write_affectnet(tmp_path, faces, [(20, 30, 80, 80), (0, 0, 'NULL', 4), (900, 0, 9, 9)])
    done = prepare(tmp_path, '--image_size=40', '--jobs=1', dataset='affectnet', ok=False)
    assert '--detector=boxes\n' in (tmp_path / 'data/prepare_flags.txt').read_text()
    assert 'box 0, 0, NULL, 4; expected left, top, width and height (training.csv:3)' in done.out
    manifest = read_manifest(tmp_path / 'data/train.txt', item='still')
    written = cv2.imread(manifest.videos[0].frames[0])[:, :, ::-1]
    expected = cv2.resize(faces[0][30:110, 20:100], (40, 40), interpolation=cv2.INTER_AREA)
    assert np.abs(written.astype(int) - expected).mean() < 4
    assert [row.gap for row in read_ledger(manifest)] == ['', 'missing', 'no_face']
    assert 'no_face box 900, 0, 9, 9 in an image of 192x144 pixels' in done.out


def test_affectnet_with_detector_none_is_not_cropped(faces, tmp_path):
    write_affectnet(tmp_path, faces, [(20, 30, 80, 80)])
    prepare(tmp_path, '--detector=none', dataset='affectnet')
    assert (tmp_path / 'data/train.txt').read_text() == 'source/Manually_Annotated_Images/1/0.png,0000100\n'


def test_detector_boxes_without_boxes_is_refused(folder):
    done = prepare(folder, '--detector=boxes', ok=False)
    assert done.code == 2
    assert '--detector=boxes: --dataset=folder lists no boxes here; expected another detector' in done.err
    assert not (folder / 'data').exists()


def test_detector_for_folders_of_faces_is_refused(faces, tmp_path):
    for number in (1, 2):
        save(tmp_path / f'raw/Train_AFEW/Happy/0001/{number}.png', faces[0])
        save(tmp_path / f'raw/Val_AFEW/Happy/0002/{number}.png', faces[0])
    done = prepare(tmp_path, '--detector=skin', dataset='afew', ok=False)
    assert done.code == 2
    assert '--detector=skin: expected none for folders of faces, which are cut out already' in done.err


def test_lines_that_are_not_records_are_skipped(tmp_path):
    path = tmp_path / 'train.stills.jsonl'
    path.write_bytes(b'\n[1, 2]\n{"key": 1}\n\xff\xfe\n' + json.dumps({'name': 'a', 'key': 'b'}).encode() + b'\n{"na')
    assert read_journal(path) == {'a': {'name': 'a', 'key': 'b'}}
    assert read_journal(tmp_path / 'none') == {}
