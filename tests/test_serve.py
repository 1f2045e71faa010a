# SPDX-License-Identifier: Apache-2.0
"""python -m fer.report --serve: the numbers on its pages, what it refuses, and runs that are damaged or change."""

import functools
import html
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import typing
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from conftest import ROOT, run
from test_report import as_split, make_results, make_run, open_in_browser, write_split

from fer.errors import InputError
from fer.manifest import read_manifest
from fer.report.intervals import estimate
from fer.report.live import listing
from fer.report.live.comparison import compare_split
from fer.report.live.details import read_run
from fer.report.live.folders import Root
from fer.report.live.pages import write_list
from fer.report.live.server import open_server
from fer.results.metrics import score
from fer.results.results_file import Results, read_results, take_rows
from fer.results.significance import compare
from fer.runs.status import write_status

RUN = '6.2-t1-r13'
EVIL = '<script>alert(1)</script> "q" \'s\' & é#?%41'
SECRET = 'the secret of another folder'


class Site(typing.NamedTuple):
    """A server and its folders."""

    port: int
    runs: Path
    data: Path


class Reply(typing.NamedTuple):
    """The answer to a request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self):
        return self.body.decode()

    @property
    def words(self):
        """The page without tags."""
        return ' '.join(html.unescape(re.sub(r'<[^>]*>', ' ', self.text)).split())


def ask(site, target, method='GET', **headers):
    """Sends a request as it stands. urllib would change `..` and other parts of the target."""
    connection = http.client.HTTPConnection('127.0.0.1', site.port, timeout=60)
    connection.putrequest(method, target, skip_host=True)
    for name, value in ({'Host': f'127.0.0.1:{site.port}'} | headers).items():
        connection.putheader(name.replace('_', '-'), value)
    connection.endheaders()
    answer = connection.getresponse()
    reply = Reply(answer.status, answer.headers, answer.read())
    connection.close()
    return reply


def page(site, *parts):
    return f'/run/{quote("/".join(str(Path(part).relative_to(site.runs)) for part in parts))}'


@pytest.fixture(scope='module')
def site(tmp_path_factory, painted):
    """Serves runs on the painted faces: two of them, one with an odd name, and links that lead elsewhere."""
    folder = tmp_path_factory.mktemp('served')
    runs, data, outside = folder / 'runs', folder / 'data', folder / 'outside'
    shutil.copytree(painted, data)
    outside.mkdir()
    (outside / 'secret.jpg').write_text(SECRET)
    (outside / 'flags.txt').write_text(f'--stage={SECRET}\n')
    first, second = (make_run(runs, RUN, seed=seed) for seed in (0, 1))
    write_split(first, 'val', painted_results(data, 3), checkpoint='model.ckpt-24', manifest=str(data / 'val.txt'))
    shutil.copytree(second, runs / EVIL)
    (runs / 'leads out').symlink_to(outside)
    (data / 'faces' / 'leads out').symlink_to(outside)
    (data / 'link.jpg').symlink_to(outside / 'secret.jpg')
    shutil.copy(next((data / 'faces').rglob('*.jpg')), data / 'inside.jpg')
    with open_server(0, Root.at('runs', runs), Root.at('data_root', data)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Site(server.server_port, runs, data)
        server.shutdown()
        thread.join()


def painted_results(data, seed):
    """Returns made-up answers to the painted videos. The last one is a fallback."""
    videos = read_manifest(data / 'val.txt').videos
    logits = np.random.default_rng(seed).normal(0, 2, (len(videos), 7))
    labels, frames = np.array([video.label for video in videos]), np.array([len(video.frames) for video in videos])
    fallback = ['-'] * (len(videos) - 1) + ['no_face']
    return Results([video.video_id for video in videos], logits, logits.argmax(1), labels, frames, fallback)


def test_list_shows_state_progress_and_scores(site):
    reply = ask(site, '/')
    assert reply.status == 200
    results = read_results(site.runs / 'somewhere' / f'{RUN}-seed1' / 'results_val.txt')
    metrics = score(results.labels, results.predictions)
    row = reply.words.partition(f'somewhere/{RUN}-seed1')[2]
    low, high = metrics['interval_95']
    share = f'{metrics["correct"]}/60 = {metrics["accuracy"]:.1%} [{100 * low:.1f}, {100 * high:.1f}]'
    assert row.startswith(f' finetune vgg_face 6 of 30 val: {share} {100 * metrics["f1"]:.1f} ')
    assert '3 of 3 runs. 3 finished.' in reply.words
    assert 'Links that lead out of --runs, or to nothing, are not followed: leads out.' in reply.words


def test_list_is_searched_sorted_and_paged(site, monkeypatch):
    found = ask(site, '/?find=SEED1+finished&sort=name').words
    assert '1 of 3 runs contain “SEED1 finished”' in found
    assert f'{RUN}-seed0' not in found
    assert 'No run contains “nothing like it”' in ask(site, '/?find=nothing+like+it').words
    monkeypatch.setattr('fer.report.live.pages._PAGE_ROWS', 2)
    names = [
        re.findall(r'<th scope="row" class="name"><a href="/run/([^"]*)', ask(site, f'/?sort=name&page={n}').text)
        for n in ('1', '2', '9', 'x')
    ]
    assert [len(one) for one in names] == [2, 1, 1, 2]
    assert names[0] + names[1] == sorted(names[0] + names[1])


def test_run_page_has_numbers_of_its_results(site):
    folder = site.runs / 'somewhere' / f'{RUN}-seed1'
    reply = ask(site, page(site, folder))
    results = read_results(folder / 'results_val.txt')
    metrics = score(results.labels, results.predictions)
    f1 = estimate([as_split(results)])['f1']
    assert f'{f1.mean:.1f} [{f1.low:.1f}, {f1.high:.1f}]' in reply.words
    matrix = reply.text[reply.text.index('class="box matrix"') :].partition('</table>')[0]
    cells = [float(cell) for cell in re.findall(r'<td style="--p: ([\d.]+)"', matrix)]
    counts = np.array(metrics['confusion'])
    np.testing.assert_allclose(np.reshape(cells, (7, 7)), 100 * counts / counts.sum(1, keepdims=True), atol=0.051)
    for name, rates in metrics['per_class'].items():
        shown = ' '.join(f'{100 * rates[key]:.1f}' for key in ('precision', 'recall', 'f1'))
        assert f'{name} {shown} {rates["support"]}' in reply.words
    assert reply.text.count('src="data:image/svg+xml') == 2  # loss and accuracy
    assert f'6 4 {np.mean([2 / step for step in range(21, 25)]):.4f} 25.0 50.0 25.0' in reply.words
    assert 'Pictures are not shown: the metrics file names no manifest.' in reply.words


def test_changed_flags_stand_before_defaults(site):
    reply = ask(site, page(site, site.runs / 'somewhere' / f'{RUN}-seed1'))
    changed, _, defaults = reply.text.partition('id="defaults"')
    assert '--seed</code></th><td class="value">1</td><td class="value">0</td>' in changed
    assert '<code>--optimizer' not in changed
    assert '<code>--optimizer' in defaults
    assert '<code>--seed' not in defaults


def test_hardest_videos_come_with_their_frames(site):
    folder = site.runs / 'somewhere' / f'{RUN}-seed0'
    reply = ask(site, page(site, folder))
    results = read_results(folder / 'results_val.txt')
    exponents = np.exp(results.logits)
    of_label = (exponents / exponents.sum(1, keepdims=True))[np.arange(9), results.labels]
    order = sorted(range(8), key=of_label.__getitem__)  # without the fallback
    table = reply.text[reply.text.index('class="hardest"') :]
    assert re.findall(r'class="name">([^<]*)', table) == [results.video_ids[row] for row in order]
    assert f'{100 * of_label[order[0]]:.1f}</td>' in table
    pictures = re.findall(r'<img src="(/picture/[^"]*)" alt="([^"]*), frame (\d+)"', table)
    video_id = results.video_ids[order[0]]
    chosen = [int(number) for _, name, number in pictures if name == video_id]
    assert len(chosen) == min(5, results.frames[order[0]])
    assert (chosen[0], chosen[-1]) == (1, results.frames[order[0]])
    picture = ask(site, pictures[0][0])
    assert picture.headers['Content-Type'] == 'image/jpeg'
    assert picture.body == (site.data / 'faces' / video_id / f'{chosen[0]:05d}.jpg').read_bytes()
    assert ask(site, pictures[0][0], If_None_Match=picture.headers['ETag'])[::2] == (304, b'')


def test_pictures_need_a_folder_that_allows_them(site, tmp_path):
    (tmp_path / 'empty').mkdir()
    folder = f'/run/somewhere/{RUN}-seed0'
    for data, reason in ((None, 'start it with --data_root'), (tmp_path / 'empty', 'no manifest')):
        root = data and Root.at('data_root', data)
        with open_server(0, Root.at('runs', site.runs), root) as server:
            threading.Thread(target=server.handle_request, daemon=True).start()
            shown = ask(Site(server.server_port, site.runs, tmp_path), folder)
        assert f'Pictures are not shown: {reason}' in shown.words
        assert '/picture/' not in shown.text


@pytest.mark.parametrize(
    'target',
    [
        *('/run/..', '/run/../outside', '/run/..%2foutside', '/run/%2e%2e/outside', '/run/%2E%2E%2Foutside', '/run/'),
        *('/run/%252e%252e/outside', '/run/leads%20out', '/run/somewhere', '/run/./x', '/run//etc', '/run/%2fetc'),
        *('/run/a%00b', '/run/..%5coutside', '/run/..\\outside', '/run/somewhere/../../outside', '/run/%ff'),
        *('/picture/../outside/secret.jpg', '/picture/%2e%2e/outside/secret.jpg', '/picture/link.jpg', '/picture/'),
        *('/picture/faces/leads%20out/secret.jpg', '/picture/val.txt', '/picture/faces', '/picture/..%5csecret.jpg'),
        *('/compare?first=../outside&second=../outside', '/compare', '/..', '/%2e%2e/%2e%2e/etc/passwd', '/etc/passwd'),
        *('/flags.txt', '/style.css/../../outside/flags.txt', 'http://127.0.0.1/', '/?' + 'a&' * 30),
    ],
)
def test_paths_that_lead_out_are_refused(site, target):
    reply = ask(site, target)
    assert reply.status in (400, 404)
    assert SECRET not in reply.text
    assert 'root:' not in reply.text


def test_absolute_paths_are_refused(site):
    outside = site.runs.parent / 'outside'
    assert outside.is_dir()
    for target in (f'/run/{outside}', f'/run/{quote(str(outside), safe="")}', f'/picture/{outside}/secret.jpg'):
        assert ask(site, target).status == 404
    assert ask(site, '/picture/inside.jpg').status == 200


def test_links_inside_a_run_are_not_read(site):
    folder = site.runs / 'linked'
    shutil.copytree(site.runs / 'somewhere' / f'{RUN}-seed1', folder)
    try:
        for name in ('flags.txt', 'results_val.txt', 'train_log.csv', 'environment.json'):
            (folder / name).unlink()
            (folder / name).symlink_to(site.runs.parent / 'outside' / 'flags.txt')
        for target in ('/', '/run/linked', f'/compare?first=linked&second=somewhere/{RUN}-seed0'):
            reply = ask(site, target)
            assert reply.status == 200
            assert SECRET not in reply.text
        for name in ('flags.txt', 'results_val.txt'):
            assert f'{name}: a link that leads out of' in ask(site, '/run/linked').words
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ('host', 'status'),
    [
        *[('localhost', 200), ('LocalHost:7', 200), ('127.0.0.1', 200)],
        *[('evil.example', 403), ('127.0.0.1.evil.example', 403), ('', 403), ('evil.example:8000', 403)],
        *[('0.0.0.0', 403), ('[::1]:8000', 403), ('localhost.evil', 403)],
    ],
)
def test_host_of_another_machine_is_refused(site, host, status):
    assert ask(site, '/', Host=host).status == status


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'NONSENSE'])
def test_methods_that_could_write_are_refused(site, method):
    reply = ask(site, '/', method)
    assert (reply.status, reply.headers['Allow'], reply.headers['Connection']) == (405, 'GET, HEAD', 'close')


def test_every_answer_has_the_security_headers(site):
    for target in ('/', '/run/nothing', '/live.js', '/style.css', '/picture/inside.jpg'):
        headers = ask(site, target).headers
        policy = headers['Content-Security-Policy']
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert 'http' not in policy
        assert (headers['X-Content-Type-Options'], headers['X-Frame-Options']) == ('nosniff', 'DENY')
        is_picture = target.startswith('/picture')
        assert headers['Cache-Control'] == ('private, no-cache' if is_picture else 'no-store')
    whole, head = ask(site, '/style.css'), ask(site, '/style.css', 'HEAD')
    assert (head.body, head.headers['Content-Length']) == (b'', str(len(whole.body)))


def test_server_listens_on_this_machine_only(site):
    with open_server(0, Root.at('runs', site.runs), None) as server:
        assert server.server_address[0] == '127.0.0.1'


def test_odd_names_are_escaped_and_open(site):
    listed = ask(site, '/')
    assert '<script>alert' not in listed.text
    assert EVIL in listed.words
    (target,) = re.findall(r'href="(/run/%3Cscript[^"]*)"', listed.text)
    reply = ask(site, target)
    assert reply.status == 200
    assert '<script>alert' not in reply.text
    assert EVIL in reply.words
    for find in ('"><script>alert(2)</script>', EVIL):
        assert '<script>alert' not in ask(site, f'/?find={quote(find)}&sort={quote(find)}&first={quote(EVIL)}').text
    both = ask(site, f'/compare?first={quote(EVIL)}&second={quote(EVIL)}')
    assert both.status == 200
    assert '<script>alert' not in both.text


def test_names_in_results_are_escaped(site):
    folder = site.runs / 'named'
    folder.mkdir()
    try:
        results = make_results(2, videos=3)._replace(video_ids=['<b>x</b>', '"onerror="alert(1)', "'&lt;"])
        write_split(folder, '<i>val', results, method='<u>m</u>')
        reply = ask(site, '/run/named')
        for text in ('<b>x', '"onerror="', '<i>val', '<u>m'):
            assert text not in reply.text
        assert '<b>x</b>' in reply.words
    finally:
        shutil.rmtree(folder)


DAMAGE = {
    'flags.txt': b'\xff\xfe--stage',
    'finished.json': b'{"step": 24, "rea',
    'metrics_val.json': b'[1, 2]',
    'results_val.txt': b'video_id\tlogit',
    'train_log.csv': b'step,epoch,phase,loss,accuracy,learning_rate,frames_per_second\n1,1,2,0.',
    'val_log.csv': b'step,epoch,phase,correct,total,accuracy,f1,dataset\n1,1,1,x,y,z,w,-\n',
    'environment.json': b'[' * 100_000,
}


@pytest.mark.parametrize('name', [*DAMAGE, 'all', 'empty', 'none'])
def test_half_written_runs_are_shown(site, name):
    folder = site.runs / 'damaged'
    shutil.copytree(site.runs / 'somewhere' / f'{RUN}-seed1', folder)
    try:
        for one, content in DAMAGE.items():
            if name in (one, 'all'):
                (folder / one).write_bytes(content)
            elif name == 'empty':
                (folder / one).write_bytes(b'')
            elif name == 'none' and one != 'flags.txt':
                (folder / one).unlink()
        for target in ('/', '/run/damaged', f'/compare?first=damaged&second=somewhere/{RUN}-seed0'):
            reply = ask(site, target)
            assert reply.status == 200
            assert 'damaged' in reply.words
        if name in DAMAGE and not name.startswith('train'):
            assert f'{name}: ' in ask(site, '/run/damaged').words
    finally:
        shutil.rmtree(folder)


def test_a_run_that_has_logged_nothing_is_shown(tmp_path):
    """The logs of a run are empty until its first rows are written."""
    folder = make_run(tmp_path, RUN)
    for name in ('train_log.csv', 'val_log.csv'):
        (folder / name).write_bytes(b'')
    for name in ('finished.json', 'metrics_val.json', 'results_val.txt'):
        (folder / name).unlink()
    root = Root.at('runs', tmp_path)
    page = read_run(root, None, listing.open_run(root, f'somewhere/{RUN}-seed0'))
    assert (page.problems, page.row.summary.epoch, page.epochs) == ([], None, [])


def test_a_fault_of_the_server_is_a_page(site, monkeypatch):
    monkeypatch.setattr('fer.report.live.pages.list_runs', lambda root: 1 / 0)
    monkeypatch.setattr('fer.report.live.server.Server.handle_error', lambda *_: None)  # prints the traceback
    reply = ask(site, '/')
    assert (reply.status, 'The page has a fault.' in reply.words) == (500, True)
    assert 'ZeroDivisionError' not in reply.text


def test_a_pipe_does_not_block_the_page(site):
    folder = site.runs / 'piped'
    folder.mkdir()
    try:
        (folder / 'results_val.txt').write_text('')
        os.mkfifo(folder / 'flags.txt')
        assert 'flags.txt: expected a file' in ask(site, '/run/piped').words
    finally:
        shutil.rmtree(folder)


def test_a_removed_run_is_not_found(site):
    folder = site.runs / 'removed'
    shutil.copytree(site.runs / 'somewhere' / f'{RUN}-seed1', folder)
    assert ask(site, '/run/removed').status == 200
    shutil.rmtree(folder)
    assert 'It may have been removed' in ask(site, '/run/removed').words
    assert 'removed' not in ask(site, '/').words


def test_a_run_removed_while_read_is_shown(site, monkeypatch):
    folder = site.runs / 'vanishing'
    shutil.copytree(site.runs / 'somewhere' / f'{RUN}-seed1', folder)
    found = listing.open_run(Root.at('runs', site.runs), 'vanishing')
    shutil.rmtree(folder)
    monkeypatch.setattr('fer.report.live.server.open_run', lambda root, name: found)
    assert ask(site, '/run/vanishing').status == 200
    monkeypatch.setattr(listing, '_look_into', lambda root, folder: (found, [], []))
    assert ask(site, '/').status == 200


def write_lock(folder, pid, host=None):
    lock = {'host': host or socket.gethostname(), 'pid': pid, 'job': '', 'since': 'today', 'token': 'x'}
    (folder / 'lock.json').write_text(json.dumps(lock))


def age(folder, seconds):
    for path in folder.iterdir():
        os.utime(path, (time.time() - seconds,) * 2)


def test_states_follow_lock_status_and_signs(tmp_path):
    folder = make_run(tmp_path, RUN)
    root, name = Root.at('runs', tmp_path), f'somewhere/{RUN}-seed0'

    def state():
        return listing.describe_run(root, listing.open_run(root, name)).state

    assert state() == ('finished', 'step 24, epochs')
    (folder / 'finished.json').unlink()
    assert state().kind == 'unfinished'
    write_lock(folder, os.getpid())
    assert state().kind == 'running'
    age(folder, 900)
    assert state().kind == 'silent'
    assert 'written nothing for 15 min' in state().text
    child = subprocess.Popen([sys.executable, '-c', ''])
    child.wait()
    write_lock(folder, child.pid)
    assert state().kind == 'unfinished'
    write_lock(folder, 1, host='another')
    assert state().kind == 'running'
    (folder / 'lock.json').unlink()
    write_status(tmp_path, folder.name, 'failed', 'train.py: exit code 2')
    assert state() == ('failed', 'train.py: exit code 2')
    write_status(tmp_path, folder.name, 'started')
    assert state().kind == 'running'
    write_status(tmp_path, folder.name, 'started', job=f'pid {child.pid}')
    assert state().kind == 'silent'


def test_running_run_shows_its_last_validation(tmp_path):
    folder = make_run(tmp_path, RUN)
    for name in ('finished.json', 'metrics_val.json', 'results_val.txt'):
        (folder / name).unlink()
    root = Root.at('runs', tmp_path)
    summary = listing.describe_run(root, listing.open_run(root, f'somewhere/{RUN}-seed0')).summary
    assert summary.scores == [('val', 1, 2, 0.25, False, False)]
    assert (summary.epoch, summary.epochs) == (6, 30)


def test_unchanged_runs_are_read_once(tmp_path, monkeypatch):
    folder = make_run(tmp_path, RUN)
    root = Root.at('runs', tmp_path)
    before = listing.list_runs(root)
    reads = []
    read = listing.read_object
    monkeypatch.setattr(listing, 'read_object', lambda path: reads.append(path.name) or read(path))
    assert listing.list_runs(root)[0][0].summary == before[0][0].summary
    assert reads == []
    metrics = json.loads((folder / 'metrics_val.json').read_text())
    (folder / 'metrics_val.json').write_text(json.dumps(metrics | {'correct': 1}))
    assert listing.list_runs(root)[0][0].summary.scores[0].correct == 1
    assert sorted(reads) == ['finished.json', 'metrics_val.json']


def test_comparison_uses_the_common_labelled_videos(site):
    first, second = make_results(1), make_results(2, right=0.7)
    others = take_rows(second, range(20, 60))
    labels = others.labels.copy()
    labels[0], labels[1] = (labels[0] + 1) % 7, -1
    found = compare_split('val', first, others._replace(labels=labels))
    assert found.test == compare(first.labels[22:], first.predictions[22:], second.predictions[22:])
    assert found.first == score(first.labels[22:], first.predictions[22:])
    assert found.left_out == [
        '20 that only the first has',
        '1 that have other labels in the two runs',
        '1 that have no label',
    ]
    reply = ask(site, f'/compare?first={quote(EVIL)}&second=somewhere/{RUN}-seed1')
    assert 'Split val: N = 60' in reply.words
    assert 'The first is +0.0 points from the second' in reply.words
    assert "McNemar's exact test: p = 1.000" in reply.words
    reply = ask(site, f'/compare?first=somewhere/{RUN}-seed0&second=somewhere/{RUN}-seed1')
    assert 'Split val: N = 0 No labelled item that both runs have answered.' in reply.words
    assert '--seed 0 1' in reply.words


def test_list_without_runs_says_so(tmp_path):
    (tmp_path / 'runs').mkdir()
    assert 'No run yet' in write_list(Root.at('runs', tmp_path / 'runs'), {}, None)


def test_missing_folder_or_busy_port_is_refused(site, tmp_path):
    with pytest.raises(InputError, match=f'--port={site.port}: in use; choose another'):
        open_server(site.port, Root.at('runs', site.runs), None)
    with pytest.raises(InputError, match=r'--runs=.*nowhere: not found; expected a folder'):
        Root.at('runs', str(tmp_path / 'nowhere'))


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (('--serve', '--output=x'), '--output is not used with --serve; remove it'),
        (('--port=8001',), '--port is used only with --serve; remove it'),
        (('--serve', f'--runs={ROOT / "fer/starter/face"}'), 'a run; expected the folder that holds it'),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    done = run('-m', 'fer.report', *flags, ok=False)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_interrupt_ends_the_command_in_one_line(site):
    command = [sys.executable, '-m', 'fer.report', '--serve', '--port=0', f'--runs={site.runs}']
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    # The tests may run in the background of a shell, which makes commands ignore an interruption.
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=ROOT, preexec_fn=listen, **pipes) as process:
        line = process.stdout.readline()
        port = int(re.match(r'http://127\.0\.0\.1:(\d+) shows the runs below', line)[1])
        assert ask(site._replace(port=port), '/').status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, '', 'python -m fer.report: interrupted\n')


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('chromium'), reason='no chromium on the PATH')
def test_a_browser_shows_the_pages_without_complaint(site, tmp_path):
    """The script enables the button, and the policy allows every part of the page."""

    class Address(typing.NamedTuple):
        target: str

        def as_uri(self):
            return f'http://127.0.0.1:{site.port}{self.target}'

    for target in ('/', f'/run/somewhere/{RUN}-seed0', f'/compare?first={quote(EVIL)}&second=somewhere/{RUN}-seed1'):
        dom, errors = open_in_browser(Address(target), tmp_path / 'profile', dark=False)
        assert 'CONSOLE' not in errors, errors
        assert re.search(r'<button[^>]*id="pause">(Pause|Resume) updates', dom)
