# SPDX-License-Identifier: Apache-2.0
"""Shows on one screen what this machine has for this project and what is missing: python -m fer.doctor

Each line is one part: versions, CPU, GPU, ffmpeg, openSMILE, the disk. A faulty part is marked with ! and followed by
what to do. TensorFlow and openSMILE are tried in processes of their own, so that a crash is one line as well. Put this
screen into a report of a fault. Exit codes: 0 all is well, 1 something has to be done.
"""

import functools
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from fer import cli
from fer.cpus import count_cpus
from fer.errors import InputError, one_line
from fer.gpus import explain_unused, find_cards
from fer.installation import CHECKOUT, PACKAGE
from fer.runs import provenance
from fer.stack import find_stack, version

DISTRIBUTION = 'afew-fer'
SHOWN = (
    *('tensorflow', 'tf-keras', 'tf-slim', 'tensorflow-addons', 'numpy', 'opencv-python-headless', 'mtcnn'),
    'ai-edge-litert',
)
_CPU_FEATURES = ('avx', 'avx2', 'fma', 'avx512f', 'avx512_bf16', 'amx_bf16')  # as /proc/cpuinfo spells them
_LEAST_DISK = 2 * 2**30  # bytes, because a run of VGG-Face keeps checkpoints of 1.6 GB
_TENSORFLOW_PROBE = """
import json
from fer.tf1 import tf
with tf.Session() as session:
    session.run(tf.matmul(tf.ones([2, 2]), tf.ones([2, 2])))
gpus = [device.name for device in tf.config.list_physical_devices('GPU')]
print(json.dumps([gpus, tf.sysconfig.get_build_info().get('is_cuda_build', False)]))
"""
_SMILE_PROBE = """
import tempfile, wave
from fer.prepare.smile.extract import lld
with tempfile.NamedTemporaryFile(suffix='.wav') as file:
    with wave.open(file.name, 'wb') as audio:
        audio.setparams((1, 2, 16000, 1600, 'NONE', ''))
        audio.writeframes(bytes(range(256)) * 12 + bytes(128))
    names, values = lld(file.name, 0.025, 0.010)
print(f'{values.shape[1]} features of {len(values)} frames')
"""


class Finding(NamedTuple):
    """One line of the screen."""

    name: str
    found: str
    remedy: str = ''  # empty if nothing has to be done


def main() -> int:
    faults = 0
    for examine in (_project, _python, _packages, _cpu, _tensorflow, _gpu, _ffmpeg, _smile, _disk):
        for finding in examine():
            print(f'{"!" if finding.remedy else " "} {finding.name:10} {finding.found}', flush=True)
            if finding.remedy:
                faults += 1
                print(f'             {finding.remedy}', flush=True)
    print(f'{faults} to be repaired' if faults else 'all is well')
    return 1 if faults else 0


def _project() -> list[Finding]:
    commit = provenance.commit() or 'unknown commit'
    changes = ', uncommitted changes' if provenance.uncommitted_changes() else ''
    kind = 'checkout' if CHECKOUT else 'installed package'
    parts = [
        Finding('project', f'{version(DISTRIBUTION) or "not installed"}, {commit}{changes}, {kind} {PACKAGE.parent}')
    ]
    if other := version('fer'):
        remedy = f'pip uninstall fer {DISTRIBUTION}, then install this project again'
        parts.append(
            Finding('name', f'the package fer {other} of the index has the import name of this project', remedy)
        )
    return parts


def _python() -> list[Finding]:
    inside = 'virtual environment' if sys.prefix != sys.base_prefix else 'no virtual environment'
    found = f'{platform.python_implementation()} {platform.python_version()}, {sys.executable}, {inside}'
    return [
        Finding('Python', found),
        Finding('system', f'{platform.platform()}, {platform.libc_ver()[1] or "no"} glibc'),
    ]


def _packages() -> list[Finding]:
    found = ', '.join(f'{name} {release}' for name in SHOWN if (release := version(name)))
    try:
        needed = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return [Finding('packages', found, 'make venv, or pip install -e . in the checkout')]
    wrong = [complaint for text in needed if (complaint := _check_requirement(Requirement(text)))]
    remedy = f'{", ".join(wrong)}: make venv, or pip install -e . in the checkout' if wrong else ''
    return [Finding('packages', found, remedy)]


def _check_requirement(needed: Requirement) -> str:
    """Returns the fault of an installed package, empty without a fault or if only an extra needs the package."""
    if needed.marker and not needed.marker.evaluate({'extra': ''}):
        return ''
    release = version(needed.name)
    if release is None:
        return f'{needed.name} is missing'
    if not needed.specifier.contains(release, prereleases=True):
        return f'{needed.name} {release} is outside {needed.specifier}'
    return ''


def _cpu() -> list[Finding]:
    features = [name for name in _CPU_FEATURES if name in _cpu_flags()]
    found = (
        f'{count_cpus()} of {os.cpu_count()} cores, {platform.machine()}, {" ".join(features) or "features unknown"}'
    )
    needs_avx = platform.machine() == 'x86_64' and _cpu_flags() and 'avx' not in features
    return [Finding('CPU', found, "TensorFlow's wheels need AVX: use another machine" if needs_avx else '')]


@functools.cache
def _cpu_flags() -> frozenset[str]:
    """Returns the features of the CPU as Linux lists them, an empty set on another system."""
    try:
        return frozenset(Path('/proc/cpuinfo').read_text().split())
    except OSError:
        return frozenset()


def _tensorflow() -> list[Finding]:
    try:
        stack = find_stack()
    except InputError as error:
        return [Finding('TensorFlow', 'not tried', str(error))]
    found = f'{version("tensorflow")}, tested with {stack.tensorflow} on {stack.pythons}'
    found += '' if stack.has_addons else ', no addons'
    code, said = _probe(_TENSORFLOW_PROBE)
    return [Finding('TensorFlow', f'{found}; {"computes" if not code else "fails"}', said if code else '')]


def _gpu() -> list[Finding]:
    cards = find_cards()
    if not cards.has_driver:
        return [Finding('GPU', 'none: no NVIDIA driver here')]
    try:
        stack = find_stack()
    except InputError:
        return [Finding('GPU', f'{cards.names}; TensorFlow was not tried')]
    code, said = _probe(_TENSORFLOW_PROBE)
    gpus, is_cuda_build = ([], True) if code else json.loads(said)
    if gpus:
        return [Finding('GPU', f'{cards.names}; TensorFlow finds {len(gpus)}')]
    unused = explain_unused(stack, is_cuda_build=is_cuda_build, environment=os.environ)
    return [Finding('GPU', f'{cards.names}; TensorFlow cannot use it, because {unused.reason}', unused.remedy)]


def _ffmpeg() -> list[Finding]:
    try:
        # Imported here, not above: a fault of another part may be why the import fails.
        from fer.prepare.ffmpeg import FFMPEG
        from fer.prepare.media import ffmpeg_build

        done = subprocess.run([FFMPEG, '-version'], capture_output=True, text=True)
    except (ImportError, RuntimeError, OSError) as error:
        return [Finding('ffmpeg', 'not found', f'{one_line(str(error))}: pip install av imageio-ffmpeg')]
    first = done.stdout.partition('\n')[0].partition(' Copyright')[0]
    found = f'reads with {ffmpeg_build()[0]} (PyAV {version("av")}), writes with {first}, {FFMPEG}'
    return [Finding('ffmpeg', found, '' if done.returncode == 0 else one_line(done.stderr))]


def _smile() -> list[Finding]:
    code, said = _probe(_SMILE_PROBE)
    found = f'{version("opensmile")}; {"fails" if code else said}'
    return [Finding('openSMILE', found, said if code else '')]


def _disk() -> list[Finding]:
    parts = []
    for name, folder in (('disk here', os.getcwd()), ('disk temp', tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free
        remedy = '' if free >= _LEAST_DISK else f'free some space: a run needs {_LEAST_DISK / 2**30:.0f} GiB or more'
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            remedy = f'{error.strerror}: work in a folder that you may write to'
        parts.append(Finding(name, f'{free / 2**30:.1f} GiB free in {folder}', remedy))
    return parts


@functools.cache
def _probe(code: str) -> tuple[int, str]:
    """Runs code in a process of its own and returns its exit code and the last line that it printed."""
    path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get('PYTHONPATH')])])
    environment = {**os.environ, 'PYTHONPATH': path}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=environment)
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode < 0:
        return done.returncode, f'killed by signal {-done.returncode}; {one_line(said[-1]) if said else "no message"}'
    return done.returncode, one_line(said[-1]) if said else 'no message'


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
