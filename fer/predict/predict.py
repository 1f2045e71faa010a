# SPDX-License-Identifier: Apache-2.0
"""Answers for videos: opens the networks, watches the videos side by side, and writes a folder for each."""

import csv
import queue
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from fer.cpus import count_cpus
from fer.errors import InputError, one_line
from fer.files import atomic_folder, atomic_write, read_object, remove_temporaries
from fer.predict.answer import SUMMARY_FILE, read_answer
from fer.predict.members import Member, Network, describe_origins, digest_weights, open_members
from fer.predict.one_video import Tools, answer_video
from fer.predict.request import PredictionRequest
from fer.predict.sources import Source, find_sources
from fer.predict.verdict import make_fusion
from fer.predict.views import VIEWS, write_views
from fer.predict.watch import Watcher, Watching
from fer.prepare.detectors import BOXES, make_detector
from fer.prepare.media import FRAMES_PER_SECOND, Choice, MediaError, estimate_seconds
from fer.prepare.records import key_of
from fer.progress import progress
from fer.training.session import SessionSettings, check_session, open_first_session

PROBLEMS_FILE = 'problems.csv'
_PARTS = {'csv': 'frames.csv', 'segments': 'segments.csv', 'summary': SUMMARY_FILE}  # of --write, needed by the others


class Outcome(NamedTuple):
    """The end of a video: a line for the screen, and its problem if it has no answer."""

    source: Source
    line: str  # for the screen
    problem: str = ''  # why it has no answer


def predict(request: PredictionRequest) -> int:
    """Answers for every video of a request and writes the answers.

    Returns:
      0, or 1 if some videos cannot be read.

    Raises:
      InputError: a bad request, networks that cannot answer together, or not one video that can be read.
    """
    request.check()
    sources = find_sources(request.video) if request.video else [Source.of_camera(request.camera, request.seconds)]
    _check_detector(request.detector)
    members = open_members(request.members, request.validation)
    fusion = make_fusion(request.method, members)
    settings = SessionSettings(intra_op_threads=max(1, count_cpus() - 1), gpu=request.gpu)
    check_session(settings)
    watching = make_watching(request, members)
    keys = (request.method, request.person, request.min_faces, request.threshold, *request.write)
    keys = (*watching, *keys, request.columns, request.blur_others, request.explain, *digest_weights(members).items())
    todo = [source for source in sources if not _is_finished(request, source, keys)]
    if len(todo) < len(sources):
        print(f'{len(sources) - len(todo)} of {len(sources)} videos are answered already')
    if not todo:
        return 0
    with _watchers(watching, min(request.jobs, len(todo))) as watchers:  # they load while TensorFlow does
        print('\n'.join([*open_first_session(settings), *describe_origins(members)]))
        networks = [Network(member, settings) for member in members]
        tools = Tools(request, members, networks, fusion, threading.Lock())
        outcomes = _answer_all(todo, tools, watchers, keys)
    for network in networks:
        network.close()
    return _report(outcomes, Path(request.output))


def _check_detector(name: str) -> None:
    """Raises InputError for a detector that does not exist or needs what videos do not have."""
    if name == BOXES:
        raise InputError(f'--detector={name}: expected another detector, because videos list no boxes')
    if name != 'mtcnn':  # MTCNN takes seconds to load
        make_detector(name)


def make_watching(request: PredictionRequest, members: Sequence[Member]) -> Watching:
    """Returns the settings of the pass, which follow from what the members learned from."""
    cut = next((member.cut for member in members if member.cut), None)
    rates = [member.sample_rate for member in members if member.reads_audio]
    return Watching(
        detector=request.detector if cut else '',
        person=request.person,
        image_size=cut.image_size if cut else 0,
        margin=cut.margin if cut else 0.0,
        streams=_chosen_streams(request),
        sample_rate=rates[0] if rates else None,
        opensmile_sets=tuple(sorted({name for member in members for name in member.opensmile_sets})),
        clip_context=next((member.clip_context for member in members if member.clip_context), ''),
        audio_window=request.audio_window,
    )


def _chosen_streams(request: PredictionRequest) -> Choice:
    return Choice(*(None if number < 0 else number for number in (request.video_stream, request.audio_stream)))


def _is_finished(request: PredictionRequest, source: Source, keys: tuple) -> bool:
    """Returns whether a video has this answer already.

    Raises:
      InputError: the folder of its answer has something else, and --overwrite is not given.
    """
    folder = Path(request.output) / source.folder
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        made_with = read_object(folder / SUMMARY_FILE).get('made_with')
    except (OSError, ValueError):
        made_with = None
    if made_with is not None and not source.is_camera and made_with == key_of(Path(source.path), keys):
        return True
    if request.overwrite and folder.is_dir():
        return False
    found = 'an answer made with other settings' if made_with else 'something else than an answer'
    raise InputError(f'{folder}: has {found}; give --overwrite, or another --output')


@contextmanager
def _watchers(settings: Watching, count: int) -> Iterator[list[Watcher]]:
    """Starts processes that watch, and ends them with the block."""
    watchers = [Watcher(settings, max(1, count_cpus() // count)) for _ in range(count)]
    try:
        yield watchers
    finally:
        for watcher in watchers:
            watcher.stop()


def _answer_all(todo: Sequence[Source], tools: Tools, watchers: Sequence[Watcher], keys: tuple) -> list[Outcome]:
    """Answers for the videos, as many at a time as there are watchers. Returns the outcomes in their order."""
    request = tools.request
    free: queue.Queue[Watcher] = queue.Queue()
    for watcher in watchers:
        free.put(watcher)
    seconds = [request.seconds if source.is_camera else estimate_seconds(source.path) for source in todo]
    total = round(FRAMES_PER_SECOND * sum(seconds))
    found: dict[str, Outcome] = {}
    with (
        progress(total=total or None, label='watching', unit='frame') as bar,
        ThreadPoolExecutor(len(watchers)) as pool,
    ):
        futures = {pool.submit(_answer_one, source, tools, free, keys, bar): source for source in todo}
        try:
            for future in as_completed(futures):
                outcome = future.result()
                found[outcome.source.folder] = outcome
                bar.write(one_line(outcome.line))
        except BaseException:
            for watcher in watchers:
                watcher.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [found[source.folder] for source in todo]


def _answer_one(source: Source, tools: Tools, free: queue.Queue, keys: tuple, bar: tqdm) -> Outcome:
    """Answers for one video and writes its folder, whole or not at all."""
    request = tools.request
    folder = Path(request.output) / source.folder
    watcher = free.get()
    try:
        made_with = '' if source.is_camera else key_of(Path(source.path), keys)
        with atomic_folder(folder) as target:
            summary = answer_video(source, target, tools, watcher, made_with, bar.update)
            answer = read_answer(Path(source.path), target)
            # A camera leaves no file that could be annotated.
            views = [name for name in request.write if name in VIEWS and not (source.is_camera and name == 'video')]
            remarks = write_views(answer, views, blur_others=request.blur_others, streams=_chosen_streams(request))
            for name, file in _PARTS.items():
                if name not in request.write and name != 'summary':  # a summary makes an answer resumable
                    (target / file).unlink()
            shutil.rmtree(folder, ignore_errors=True)  # an earlier answer, kept until now
        return Outcome(source, '; '.join([f'{source.path}: {_describe(summary)}', *remarks]))
    except MediaError as error:
        return Outcome(source, f'{source.path}: {error}', str(error))
    except OSError as error:
        if error.filename == source.path:  # it cannot be read. Other errors are of writing
            return Outcome(source, f'{source.path}: {error.strerror}', str(error.strerror))
        raise
    finally:
        free.put(watcher)


def _describe(summary: dict[str, Any]) -> str:
    """Returns the verdict of a video in words."""
    verdict = summary['verdict']
    if verdict is None:
        text = f'no verdict: {summary["why"]}'
    else:
        top = max(summary['probabilities'], key=summary['probabilities'].get)
        share = f'{summary["probabilities"][top]:.0%}'
        text = f'{verdict} ({share})' if verdict == top else f'{verdict}: {top} has {share}, below the threshold'
    people = len(summary['persons'])
    faces = f'{summary["frames_with_face"]} of {summary["frames"]} frames with a face'
    problems = ''.join(f'; {problem}' for problem in summary['problems'])
    return f'{text}; {faces}, {people} {"person" if people == 1 else "people"}{problems}'


def _report(outcomes: Sequence[Outcome], output: Path) -> int:
    """Writes the list of videos without an answer. Returns the exit code."""
    failed = [outcome for outcome in outcomes if outcome.problem]
    path = output / PROBLEMS_FILE
    if output.exists():
        remove_temporaries(output)
    if not failed:
        path.unlink(missing_ok=True)
        return 0
    if len(failed) == len(outcomes) == 1:
        raise InputError(failed[0].line)
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(('video', 'problem'))
        writer.writerows((outcome.source.path, outcome.problem) for outcome in failed)
    print(f'{path}: {len(failed)} of {len(outcomes)} videos without an answer')
    return 1
