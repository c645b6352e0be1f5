"""The folder of a run: where it is, and what is in it, as a page shows it."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import yaml

from sdakd_plugin.errors import UserError, nearest
from sdakd_plugin.evaluation.table import cell
from sdakd_plugin.evaluation.verdict import verdict
from sdakd_plugin.watching.run_log import RunLog

EXPERIMENTS = Path('experiments')
NO_STUDENT = ('bicubic', 'teacher', 'GT')


def find(run: str) -> Path:
    """The folder of a run, given by its name, its folder or its option file.

    Raises:
        UserError: there is no such run, or it has not begun.
    """
    path = Path(run)
    if path.is_file():
        name = _options(path).get('name')
        if not name:
            raise UserError(f'{run}: is no option file, as it has no name')
        folder = EXPERIMENTS / str(name)
        if not _is_run(folder):
            raise UserError(f'{run}: its run has not begun, as {folder} has no log: sdakd train -opt {run}')
        return folder
    for folder in (path, EXPERIMENTS / run):
        if _is_run(folder):
            return folder
    if path.suffix in ('.yml', '.yaml'):
        raise UserError(f'{run}: there is no such option file')
    if path.is_dir():
        raise UserError(f'{run}: is not the folder of a run, as it has no file train_*.log')
    known = [each.name for each in EXPERIMENTS.glob('*') if _is_run(each)]
    raise UserError(f"there is no run '{run}' in {EXPERIMENTS.absolute()}" + nearest(run, known))


class RunFolder:
    """What is in the folder of a run; nothing is written there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, RunLog(folder)

    def content(self) -> dict[str, Any]:
        """The data of the page, as it is now, without the pictures."""
        if self.log.is_replaced:
            self.log = RunLog(self.folder)
        log = self.log
        log.read()
        path = max(self.folder.glob('*.yml'), key=lambda file: file.stat().st_mtime, default=None)
        opt = _options(path) if path else {}
        stage = max(log.stages, default=0)
        return {
            'name': str(opt.get('name') or self.folder.absolute().name),
            'folder': str(self.folder),
            'finished': log.finished,
            'age': time.time() - max((file.stat().st_mtime for file in log.files), default=time.time()),
            'iteration': log.iteration,
            'total': log.total,
            'stages': list(log.stages.values()),
            'stage': f'{stage} of {log.of}, {log.stages[stage]["name"]}' if stage else None,
            'eta': log.eta,
            'images_per_second': log.images_per_second,
            'losses': log.curves(),
            'metrics': self._metrics(opt),
            'saves_pictures': bool((opt.get('val') or {}).get('save_img')),
            'seconds': self._seconds(),
            'tables': self._tables(),
            'options': path.read_text(encoding='utf-8') if path else None,
            'commands': self._commands(opt),
        }

    def _metrics(self, opt: dict[str, Any]) -> list[dict[str, Any]]:
        """The curve of every metric, data set and student: ``{metric, dataset, student, points, last, best}``."""
        blocks = (opt.get('val') or {}).get('metrics') or {}
        curves: dict[tuple[str, str, str], list[list[float]]] = {}
        for path in sorted(self.folder.glob('validations*.json')):
            student = path.stem[len('validations_') :]
            for entry in read_json(path) or []:
                for metric, value in entry['metrics'].items():
                    if value is not None:
                        curves.setdefault((metric, entry['dataset'], student), []).append([entry['iter'], value])
        found = []
        for (metric, dataset, student), points in curves.items():
            lower = (blocks.get(metric) or {}).get('better') == 'lower'
            best = (min if lower else max)(points, key=lambda point: point[1])
            about = {'metric': metric, 'dataset': dataset, 'student': student, 'lower': lower}
            found.append({**about, 'points': points, 'last': points[-1], 'best': best})
        return found

    def _seconds(self) -> float | None:
        """The time of training without validations."""
        times = (read_json(self.folder / 'seconds.json') or {}).values()
        elapsed = [entry.get('elapsed') for entry in read_json(self.folder / 'validations.json') or []]
        return max([*times, *(seconds for seconds in elapsed if seconds is not None)], default=None)

    def _tables(self) -> list[dict[str, Any]]:
        """The final comparison: for each data set a head, rows of text, and the verdict."""
        found = []
        for dataset, rows in (read_json(self.folder / 'summary.json') or {}).items():
            head = list(dict.fromkeys(key for row in rows for key in row))
            known = [{key: value for key, value in row.items() if value is not None} for row in rows]
            students = [row['method'] for row in rows if 'parameters' in row and row['method'] not in NO_STUDENT]
            text = [[cell(key, row.get(key)) for key in head] for row in rows]
            found.append({'dataset': dataset, 'head': head, 'rows': text, 'verdict': verdict(known, students)})
        return found

    def _commands(self, opt: dict[str, Any]) -> list[str]:
        """How to use the students, once they are complete."""
        size = ' --size 64' if str((opt.get('network_g') or {}).get('type')).startswith('GCFSR') else ''
        found = []
        for path in sorted(self.folder.glob('models/net_g*_latest.pth')):
            file = os.path.relpath(path)
            quoted = f"'{file}'" if re.search(r'\s', file) else file
            found += [
                f'sdakd upscale photo.png enlarged.png --model {quoted}',
                f'sdakd export {quoted} --format onnx{size}',
            ]
        return found


def read_json(path: Path) -> Any:
    """The content of a JSON file; ``None`` if it is missing or incomplete."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def _is_run(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob('train_*.log'))


def _options(path: Path) -> dict[str, Any]:
    """The options of a file; empty if it has none."""
    try:
        found = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
