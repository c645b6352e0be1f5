"""The pictures of a run: the student's at each validation, beside the teacher's and the ground truth."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import cv2

from sdakd_plugin.evaluation.page import Gallery, data_uri

MOST = 24  # images on the page
AT_REST = 1.0  # seconds without a change, after which a picture is complete


def listed(folder: Path) -> list[dict[str, Any]]:
    """The saved pictures of each validation image, up to ``MOST``.

    Returns:
        ``{name, student, beside, steps}``: ``beside`` has the files of ``teacher`` and ``GT``, where there are any,
        ``steps`` the iterations and files of the student's pictures. Files are relative to the folder.
    """
    found = []
    for directory in sorted({path.parent for path in folder.glob('visualization/**/*.png')}):
        name, student = directory.name, directory.parent.relative_to(folder / 'visualization').as_posix()
        steps = sorted(
            (int(match[1]), _inside(folder, path))
            for path in directory.glob('*.png')
            if (match := re.search(r'_(\d+)\.png$', path.name)) and _is_complete(path)
        )
        files = {'teacher': f'{name}_teacher.png', 'GT': f'{name}_gt.png'}
        beside = {
            method: f'references/{file}' for method, file in files.items() if _is_complete(folder / 'references' / file)
        }
        if steps:
            found.append({'name': name, 'student': student.strip('.'), 'beside': beside, 'steps': steps})
    return found[:MOST]


def embedded(folder: Path) -> list[dict[str, Any]]:
    """The same pictures as ``data:`` addresses: of each image its last step, cropped and bounded as in ``Gallery``."""
    found = []
    gallery = Gallery(MOST)
    for entry in listed(folder):
        iteration, last = entry['steps'][-1]
        files = {**entry['beside'], 'student': last}
        images = {
            method: image for method, file in files.items() if (image := cv2.imread(str(folder / file))) is not None
        }
        if 'student' not in images:  # a damaged file
            continue
        left_out = gallery.left_out
        gallery.add(entry['name'], {**images, 'GT': images.get('GT', images.get('teacher', images['student']))})
        if gallery.left_out == left_out:
            sources = gallery.shown[-1]['sources']
            beside = {method: sources[method] for method in entry['beside'] if method in images}
            found.append({**entry, 'beside': beside, 'steps': [(iteration, sources['student'])]})
    return found


def comparison(folder: Path) -> str | None:
    """The picture of the final comparison as a ``data:`` address; ``None`` before it is made."""
    image = cv2.imread(str(folder / 'comparison.png')) if (folder / 'comparison.png').is_file() else None
    return None if image is None else data_uri(image)


def _is_complete(path: Path) -> bool:
    return path.is_file() and time.time() - path.stat().st_mtime > AT_REST


def _inside(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
