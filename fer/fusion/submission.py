# SPDX-License-Identifier: Apache-2.0
"""EmotiW's submissions (dissertation 5.11): a text file per test video with one class name, in AFEW's spelling."""

import csv
from pathlib import Path

from fer.emotions import AFEW_SPELLING
from fer.errors import InputError
from fer.files import atomic_folder, atomic_write, files_below
from fer.results.results_file import Results

_LONGEST_NAME = 255  # bytes, of a file in most file systems


def check_submission_folder(folder: str, results: Results, flag: str = '--submission') -> None:
    """Raises InputError if the folder is in use, or a video's id cannot be the name of a file."""
    path = Path(folder)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f'{flag}={folder}: exists and is not empty; choose a new or empty folder')
    for video_id in results.video_ids:
        too_long = len(f'{video_id}.txt'.encode()) > _LONGEST_NAME
        if set(video_id) & set('/\\\0') or video_id in ('', '.', '..') or too_long:
            raise InputError(
                f'{flag}={folder}: video {video_id[:80]!r} cannot name a file; expected ids without / and \\, and of '
                f'at most {_LONGEST_NAME} bytes with .txt'
            )


def write_submission(folder: str, results: Results) -> None:
    """Writes `<video_id>.txt` for each video.

    Args:
      folder: new or empty.
      results: the answers.

    Raises:
      InputError: the folder is in use, or a video's id cannot be the name of a file.
    """
    check_submission_folder(folder, results)
    with atomic_folder(folder) as files:  # all or none, because a folder with files is refused
        for video_id, prediction in zip(results.video_ids, results.predictions, strict=True):
            # No sync, because there are hundreds of files, and a person looks at them next.
            with atomic_write(files / f'{video_id}.txt', durable=False) as file:
                file.write(AFEW_SPELLING[prediction] + '\n')
    print(f'{folder}: {len(results.video_ids)} files for submission')


def read_expected(path: str) -> list[str]:
    """Returns the ids of the videos that a submission must answer, in the order of the file.

    Args:
      path: a ledger (`test.ledger.csv`), a results file, or plain text with an id per line. An id may end in `.avi`,
        `.mp4` or `.txt`. Blank lines and lines that start with # are skipped.

    Raises:
      InputError: the file is unreadable, lists no video, or lists a video twice.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8-sig').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'not UTF-8 text'
        raise InputError(f'{path}: {reason}; expected a list of videos') from None
    separator = next((mark for mark in ',\t' if lines and lines[0].startswith(f'video_id{mark}')), None)
    if separator is None:
        names = [line.strip() for line in lines]
    else:  # a table: its first column, without its header
        try:
            names = [(row or [''])[0] for row in csv.reader(['', *lines[1:]], delimiter=separator)]
        except csv.Error as error:
            raise InputError(f'{path}: {error}; expected a list of videos') from None
    ids: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name or name.startswith('#'):
            continue
        for ending in ('.avi', '.mp4', '.txt'):
            name = name.removesuffix(ending)
        if name in ids:
            raise InputError(f'{path}:{number}: video {name} is already on line {ids[name]}; remove one of them')
        ids[name] = number
    if not ids:
        raise InputError(f'{path}: lists no video; expected one per line')
    return list(ids)


def check_submission(folder: str, expected: list[str]) -> list[str]:
    """Returns the faults of a submission, a line for each file or video. A correct submission gives an empty list.

    - missing: a video has no file.
    - extra: a file belongs to no expected video, or its name is not `<video_id>.txt`.
    - duplicated: a video has a second file, in other case, with another ending, or in a subfolder.
    - misspelt: the content of a file is not one class name in AFEW's spelling.

    Args:
      folder: the submission, subfolders included.
      expected: ids of the videos.

    Raises:
      InputError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f'{folder}: no such folder; expected a submission')
    exact, wanted = set(expected), {video_id.lower(): video_id for video_id in expected}
    files: dict[str, list[Path]] = {}
    problems = []
    for path in filter(Path.is_file, files_below(root)):
        shown = path.relative_to(root)
        video_id = path.stem if path.stem in exact else wanted.get(path.stem.lower())
        if video_id is None:
            problems.append(f'extra: {shown} belongs to no expected video')
            continue
        files.setdefault(video_id, []).append(path)
        if path.name != f'{video_id}.txt' or path.parent != root:
            problems.append(f'extra: {shown} is not named {video_id}.txt')
        if wrong := _wrong_content(path):
            problems.append(f'misspelt: {shown}{wrong}')
    for video_id, paths in files.items():
        if len(paths) > 1:
            problems.append(f'duplicated: {video_id} has {", ".join(str(path.relative_to(root)) for path in paths)}')
    right_place = {video_id for video_id, paths in files.items() if root / f'{video_id}.txt' in paths}
    problems.extend(f'missing: {video_id}.txt' for video_id in expected if video_id not in right_place)
    return problems


def _wrong_content(path: Path) -> str | None:
    """Returns what is wrong with the content of a submission file, None if it is one class name."""
    names = ', '.join(sorted(AFEW_SPELLING))
    try:
        text = path.read_text(encoding='utf-8')
    except UnicodeDecodeError:
        return f': not UTF-8 text; expected one of {names}'
    lines = text.split('\n')
    if lines[-1] == '':
        lines.pop()
    if not lines:
        return f': empty; expected one of {names}'
    if len(lines) > 1:
        return f':2: {len(lines)} lines; expected one class name'
    return None if lines[0] in AFEW_SPELLING else f':1: {lines[0]!r}; expected one of {names}'
