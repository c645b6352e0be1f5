"""The page of a run: served while it goes on, or one file that needs no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdakd_plugin.evaluation.page import embed
from sdakd_plugin.watching import pictures
from sdakd_plugin.watching.run_folder import RunFolder

TEMPLATE = Path(__file__).with_name('page.html')


def live(run: RunFolder) -> dict[str, Any]:
    """The data of a page that is served, whose pictures are the files of the run."""
    is_finished = (content := run.content())['tables']
    return {
        **content,
        'live': True,
        'pictures': pictures.listed(run.folder),
        'comparison': 'comparison.png' if is_finished and (run.folder / 'comparison.png').is_file() else None,
    }


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a finished run, and return its path.

    Raises:
        OSError: it cannot be written.
    """
    data = {
        **RunFolder(folder).content(),
        'live': False,
        'pictures': pictures.embedded(folder),
        'comparison': pictures.comparison(folder),
    }
    path = folder / 'report.html'
    path.write_text(embed(TEMPLATE, data), encoding='utf-8')
    return path
