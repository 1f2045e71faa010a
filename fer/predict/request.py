# SPDX-License-Identifier: Apache-2.0
"""The settings of `python -m fer.predict`."""

from dataclasses import dataclass

from fer.errors import InputError
from fer.settings import check_values, setting

WRITE = {
    'csv': 'frames.csv',
    'segments': 'segments.csv',
    'summary': 'summary.json',
    'vtt': 'timeline.vtt, subtitles',
    'eaf': 'timeline.eaf, for ELAN',
    'textgrid': 'timeline.TextGrid, for Praat',
    'video': 'annotated.mp4',
    'html': 'index.html, the page',
}
STARTERS = ('starter:face', 'starter:voice')


@dataclass(frozen=True, kw_only=True)
class PredictionRequest:
    """The flags of fer.predict."""

    video: tuple[str, ...] = setting(
        'Videos to answer for: files, folders of them, or patterns such as clips/*.mp4.', (), is_path=True
    )
    output: str = setting('Folder to write to. Each video gets a folder in it, named after the file.', is_path=True)
    camera: int = setting('Number of a camera to watch instead of videos.', -1, choices={-1: 'none'}, at_least=0)
    seconds: float = setting('How long to watch the camera.', 10.0, above=0, at_most=86400, noun='seconds')
    members: tuple[str, ...] = setting(
        'Networks that answer together: run folders, starter:face and starter:voice.', STARTERS, is_path=True
    )
    method: str = setting(
        'Late fusion of the members, a method of fusion.py. Methods with weights need the results of validation in '
        'each run folder.',
        '3',
        section='6.5',
    )
    validation: str = setting('Split whose results files in the run folders are of validation.', 'val')
    write: tuple[str, ...] = setting('Files to write for each video.', tuple(WRITE), choices=WRITE, fewest=1)
    columns: str = setting(
        'Names of the columns of frames.csv.',
        'fer',
        choices={'fer': 'as documented', 'openface': 'face_id, timestamp, confidence, success as in OpenFace 2.0'},
    )
    detector: str = setting(
        'Face detector: blazeface, mtcnn, haar, none for pictures that are all face, or package.module:function.',
        'blazeface',
    )
    person: str = setting(
        'Whose faces decide the verdict of the video.',
        'follow',
        choices={'follow': 'the person who has most of it', 'largest': 'the largest face of each frame'},
    )
    min_faces: int = setting('Fewest faces for a verdict.', 5, at_least=1, noun='faces')
    threshold: float = setting(
        'Calibrated probability below which a verdict is `uncertain`.', 0.5, at_least=0, at_most=1, noun='a probability'
    )
    audio_window: float = setting(
        'Length of the windows in which audio is analysed. Each begins half a window after the one before.',
        4.0,
        at_least=0.5,
        at_most=60,
        noun='seconds',
    )
    blur_others: bool = setting('Blur the faces of everybody but the main person in annotated.mp4.', False)
    explain: bool = setting('Write what the verdict depends on, to explain/.', False)
    jobs: int = setting('Videos watched at the same time.', 2, at_least=1, noun='videos')
    overwrite: bool = setting('Replace answers that were made with other settings.', False)
    video_stream: int = setting(
        'Video stream of a file to read, from 0.', -1, choices={-1: 'the one that players choose'}, at_least=0
    )
    audio_stream: int = setting(
        'Audio stream of a file to read, from 0.', -1, choices={-1: 'the one that players choose'}, at_least=0
    )
    gpu: int = setting('GPU to use.', -1, choices={-1: 'the first'}, at_least=0)

    def check(self) -> None:
        """Raises InputError for values that are not allowed or do not go together."""
        check_values(self)
        if bool(self.video) == (self.camera >= 0):
            raise InputError('--video: expected files, or --camera, and not both')
        if self.blur_others and 'video' not in self.write:
            raise InputError('--blur_others: expected video in --write, because it changes annotated.mp4 only')
