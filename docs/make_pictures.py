"""Makes the pictures of docs/tutorial.md: ``python docs/make_pictures.py FOLDER RUN``.

FOLDER is where the tutorial's first blocks ran, up to ``sdakd upscale``. RUN is the folder of this run, whose page
Chromium photographs while the last stage trains::

    sdakd train -opt options/quickstart_x4.yml --force_yml val:save_img=true val:val_freq=100
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread

from PIL import Image, ImageDraw, ImageFont

from sdakd_plugin.watching.run_folder import RunFolder
from sdakd_plugin.watching.server import make_server

HERE = Path(__file__).resolve().parent / 'images'
CROP = (140, 20, 396, 276)  # of the astronaut (NASA, public domain): left, top, right, bottom
BAND = 28  # pixels below a picture, for its name


def before_and_after(folder: Path) -> Image.Image:
    """The enlarged astronaut beside bicubic and the photograph, as pixels of the files."""
    truth = Image.open(folder / 'unseen/astronaut.png')
    pictures = {
        'bicubic': Image.open(folder / 'small.png').resize(truth.size, Image.Resampling.BICUBIC),
        'sdakd_nano_x4': Image.open(folder / 'large.png'),
        'the photograph': truth,
    }
    side = CROP[2] - CROP[0]
    page = Image.new('RGB', (len(pictures) * side, side + BAND), 'white')
    for left, (name, picture) in zip(range(0, page.width, side), pictures.items(), strict=True):
        page.paste(picture.convert('RGB').crop(CROP), (left, 0))
        middle = (left + side // 2, side + BAND // 2)
        ImageDraw.Draw(page).text(middle, name, 'black', ImageFont.load_default(18), anchor='mm')
    return page


def watched(run: Path, out: Path) -> None:
    """A picture of the page of ``sdakd watch``, as a PNG."""
    with make_server(RunFolder(run), 0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_address[1]}/'
        options = ['--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--timeout=4000']
        command = ['chromium', *options, '--window-size=1000,1335', f'--screenshot={out}', address]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        server.shutdown()


def main(folder: Path, run: Path) -> None:
    """Write both pictures."""
    HERE.mkdir(exist_ok=True)
    before_and_after(folder).save(HERE / 'enlarged.jpg', quality=92)
    with tempfile.TemporaryDirectory() as temporary:
        page = Path(temporary, 'page.png')
        watched(run, page)
        Image.open(page).convert('RGB').save(HERE / 'watch.jpg', quality=85)


if __name__ == '__main__':
    main(*map(Path, sys.argv[1:]))
