# SPDX-License-Identifier: Apache-2.0
"""Compares our runs with the dissertation's tables: python -m fer.report --runs=runs --output=report [--data=data/afew]
Or shows runs of any name while they train, on this machine only: python -m fer.report --serve --runs=runs

Reads every run folder <run id>-seed<k> below --runs, where the run id names a run of chapter 6 (6.2-t1-r13-seed0).
Writes index.html, report.md, tables.csv and errata.csv. Numbers are recomputed from results files. The row of a run
shows if the run is missing, unfinished or suspicious. With --serve nothing is written: open the address that is
printed, and end the command with Ctrl-C. Exit codes: 0 done, 2 bad input and nothing written, 130 interrupted.
"""

import functools
from pathlib import Path

from absl import flags

from fer import cli
from fer.errors import InputError
from fer.report.figures import draw_all_curves, lay_out_matrices
from fer.report.live.folders import Root
from fer.report.live.server import ADDRESS, open_server
from fer.report.page import Figures, write_report
from fer.report.runs import read_seeds
from fer.report.statistics import draw_statistics
from fer.report.tables import compile_report
from fer.runs.names import FLAGS_FILE

flags.DEFINE_string('runs', 'runs', 'Folder that holds run folders, at any depth.')
flags.DEFINE_string('output', 'report', 'Folder to write to.')
flags.DEFINE_list(
    'data',
    [],
    'Folders of prepared data whose statistics are plotted. `python -m fer.prepare.statistics` makes the statistics.',
)
flags.DEFINE_string('note', '', 'Text at the top of the report.')
flags.DEFINE_string('configs', 'configs', 'Folder of the flagfiles that the settings of runs are compared with.')
flags.DEFINE_bool(
    'serve',
    False,
    f'Show the runs in a browser instead of writing the report. Only this machine ({ADDRESS}) can open it.',
)
flags.DEFINE_integer('port', 8000, 'Port of --serve. 0: any free one.', lower_bound=0, upper_bound=65535)
flags.DEFINE_string(
    'data_root',
    '',
    'With --serve: folder of prepared data. Pictures and manifests below it may be shown. Empty: show no pictures.',
)
_WRITING, _SERVING = ('output', 'data', 'note', 'configs'), ('port', 'data_root')


def main() -> None:
    args = flags.FLAGS
    for name in _WRITING if args.serve else _SERVING:
        if args[name].present:
            raise InputError(f'--{name} is {"not used with" if args.serve else "used only with"} --serve; remove it')
    if args.serve:
        _serve()
    else:
        _write()


def _serve() -> None:
    args = flags.FLAGS
    runs, data = Root.at('runs', args.runs), Root.at('data_root', args.data_root) if args.data_root else None
    if (runs.path / FLAGS_FILE).exists():
        raise InputError(f'--runs={args.runs}: a run; expected the folder that holds it')
    with open_server(args.port, runs, data) as server:
        print(f'http://{ADDRESS}:{server.server_port} shows the runs below {args.runs}; Ctrl-C ends it', flush=True)
        server.serve_forever()


def _write() -> None:
    args = flags.FLAGS
    found = read_seeds(Path(args.runs), Path(args.configs))
    statistics = draw_statistics([Path(folder) for folder in args.data])
    report = compile_report(found)
    figures = Figures(draw_all_curves(found.seeds), lay_out_matrices(found.seeds), statistics)
    written = write_report(Path(args.output), report, figures, args.note)
    summary = report.summary
    print(f'{summary.finished} finished runs, {summary.unfinished} unfinished')
    print(f'{summary.rows} rows: {", ".join(f"{count} {verdict}" for verdict, count in summary.verdicts.items())}')
    for kind, count in summary.flags.items():
        print(f'{kind}: {count} rows')
    if summary.ignored:
        print(f'ignored: {len(summary.ignored)} folders whose name belongs to no run')
    print('\n'.join(map(str, written)))


run = functools.partial(cli.run, main)

if __name__ == '__main__':
    run()
