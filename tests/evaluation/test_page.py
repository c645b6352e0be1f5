"""The page of `sdakd compare` in a real browser: it renders, its controls work, and it makes no requests."""

import base64
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdakd_plugin.evaluation import page

NAME = '</script><img src=x onerror="document.title=1">.png'  # a file may be called anything
SIDE = 96


def flat(color):
    return np.full((SIDE, SIDE, 3), color, np.uint8)


BLUE, RED, GREEN = (200, 0, 0), (0, 0, 200), (0, 200, 0)  # BGR
CONTENT = {
    'scale': 4,
    'cost_size': 64,
    'machine': 'a CPU',
    'failed': {'broken.png': 'broken.png is <b>damaged</b>'},
    'metrics': {'psnr': {'better': 'higher'}, 'lpips': {'better': 'lower'}},
    'methods': {
        'bicubic': {},
        'large': {'network': 'RRDBNet()', 'parameters': 16e6, 'multiply_adds': 7e10, 'seconds': 0.7},
        'small': {'network': 'SRVGGNetCompact()', 'parameters': 6e5, 'multiply_adds': 2e9, 'seconds': 0.05},
    },
    'mean': {
        'bicubic': {'psnr': 28.5, 'lpips': 0.34},
        'large': {'psnr': 26.5, 'lpips': 0.17},
        'small': {'psnr': 27.5, 'lpips': None},
    },
    'images': {
        name: {
            'bicubic': {'psnr': 28.5, 'lpips': 0.34},
            'large': {'psnr': 26.5, 'lpips': 0.17},
            'small': {'psnr': 27.5, 'lpips': None},
        }
        for name in ('a.png', NAME)
    },
}


@pytest.fixture
def opened(browser, tmp_path):
    """A page of two images on whose pictures the methods are plain colours."""
    gallery = page.Gallery(6)
    for name in CONTENT['images']:
        gallery.add(
            name,
            {'LQ': flat(0)[::4, ::4], 'bicubic': flat(BLUE), 'large': flat(RED), 'small': flat(GREEN), 'GT': flat(255)},
        )
    path = tmp_path / 'page.html'
    path.write_text(page.render(CONTENT, gallery), encoding='utf-8')
    browser.log('performance'), browser.log('browser')
    browser.post('url', url=path.as_uri())
    return browser


def column(browser, number):
    return browser.js(f"[...document.querySelectorAll('#body tr')].map(row => row.children[{number}].textContent)")


def test_every_picture_is_shown_and_nothing_is_requested_or_complained_of(opened):
    shown = opened.js(
        "[...document.querySelectorAll('#panes figure')].map(f => [f.querySelector('b').textContent, "
        "f.querySelector('img').naturalWidth])"
    )
    assert shown == [[name, SIDE] for name in ('LQ', 'bicubic', 'large', 'small', 'GT')]
    messages = [entry['message'] for entry in opened.log('performance')]
    requested = [
        message['params']['request']['url']
        for message in messages
        if message['method'] == 'Network.requestWillBeSent' and message['params']['documentURL'].startswith('file:')
    ]  # not the browser's own start page
    assert {url.split(':')[0] for url in requested} <= {'file', 'data'}
    assert sum(url.startswith('file:') for url in requested) == 1
    assert opened.log('browser') == []  # neither an error of the script nor a request that the page's policy refused


def test_a_request_would_be_refused(opened):
    """Its own content security policy keeps the page from the network, whatever is in it."""
    opened.js("fetch('http://127.0.0.1:9/').catch(() => 0)")
    assert any('Content Security Policy' in entry['message'] for entry in opened.log('browser'))


def test_names_are_text(opened):
    assert opened.js('document.title') == 'Super-resolution side by side'
    assert NAME in opened.js("[...$('image').options].map(option => option.textContent)")
    assert opened.js("$('failed').textContent") == 'Left out: broken.png is <b>damaged</b>'


def test_the_table_sorts_best_first_and_then_the_other_way(opened):
    assert column(opened, 1) == ['large', 'bicubic', 'small']  # by LPIPS; lower is better, unknown last
    opened.click("#head th[data-column='psnr'] button")
    assert column(opened, 1) == ['bicubic', 'small', 'large']
    head = "#head th[data-column='lpips'] button"
    opened.click(head)
    assert column(opened, 1) == ['large', 'bicubic', 'small']
    assert opened.js('document.querySelector("#head th[data-column=\'lpips\']").ariaSort') == 'ascending'
    opened.keys(head, '\ue007')  # Enter: the head is a button
    assert column(opened, 1) == ['bicubic', 'large', 'small']
    opened.click("#head th[data-column='parameters'] button")
    assert column(opened, 1) == ['small', 'large', 'bicubic']
    assert opened.js("[...document.querySelectorAll('td.best')].map(cell => cell.textContent)") == ['0.1700', '28.50']


def test_the_table_shows_each_image(opened):
    opened.js("($('rows').value = ' all', $('rows').dispatchEvent(new Event('change')))")
    assert sorted(set(column(opened, 0))) == sorted(CONTENT['images'])
    assert len(column(opened, 0)) == 6


def test_the_slider_parts_two_models(opened):
    """Looked at in the browser's own picture: left of the knife is one model, right of it the other."""
    opened.js(
        "($('left').value = 'large', $('right').value = 'small', $('left').dispatchEvent(new Event('change')), "
        "document.querySelector('#slider .pane').scrollIntoView())"
    )

    def share_of_red():
        time.sleep(0.2)
        box = opened.js(
            '(b => [b.left, b.top, b.width, b.height].map(Math.round))'
            "(document.querySelector('#slider .pane').getBoundingClientRect())"
        )
        row = opened.screenshot()[box[1] + box[3] // 2, box[0] + 4 : box[0] + box[2] - 4].astype(int)
        red, green = (abs(row - color).sum(1) < 30 for color in (RED, GREEN))
        assert red.mean() + green.mean() > 0.97
        return red.mean()

    assert share_of_red() == pytest.approx(0.5, abs=0.03)
    opened.keys('#cut', '\ue010')  # End
    assert share_of_red() > 0.97
    opened.keys('#cut', '\ue011' + '\ue014' * 40)  # Home, then the right arrow: half a percent each
    assert share_of_red() == pytest.approx(0.2, abs=0.03)


def test_pictures_zoom_and_move_together(opened):
    def seen():
        """Zoom, and the part of the picture left of and above what shows, which are the same for all."""
        found = np.array(
            opened.js(
                "[...document.querySelectorAll('.pane img')].map(image => "
                '(m => [m.a, -m.e / image.clientWidth / m.a, -m.f / image.clientHeight / m.a])'
                '(new DOMMatrix(getComputedStyle(image).transform)))'
            )
        )
        assert len(found) == 7 and np.ptp(found, axis=0).max() < 1e-3
        return pytest.approx(found[0], abs=1e-3)

    assert seen() == [1, 0, 0]
    opened.keys('#panes figure:nth-child(2) .pane', '++')
    middle = 0.5 - 0.5 / 1.5**2
    assert seen() == [1.5**2, middle, middle]
    opened.keys('#panes figure:nth-child(2) .pane', '\ue014')  # right arrow: a tenth of what shows
    assert seen() == [1.5**2, middle + 0.1 / 1.5**2, middle]
    opened.click('#whole')
    assert seen() == [1, 0, 0]


def test_the_zoom_is_in_pixels_of_the_screen_and_only_large_pixels_have_edges(opened):
    assert SIDE * int(opened.js("$('zoom').textContent").split()[0]) / 100 == pytest.approx(
        opened.js("document.querySelector('#panes .pane').clientWidth"), rel=0.01
    )
    rendering = "document.querySelector('#panes img').style.imageRendering"
    opened.js("(look(1, 0, 0), document.querySelector('#panes').style.width = '300px')")
    time.sleep(0.3)
    assert opened.js(f"$('zoom').textContent.split(' ')[0] < 200 ? {rendering} : 'auto'") == 'auto'
    opened.js('zoom(4)')
    assert opened.js(rendering) == 'pixelated'


def test_no_picture_stands_alone_in_a_row(opened):
    tops = "[...document.querySelectorAll('#panes figure')].map(figure => figure.getBoundingClientRect().top)"
    for width, rows in (('1400px', [5]), ('1000px', [3, 2]), ('560px', [2, 2, 1]), ('300px', [2, 2, 1])):
        opened.js(f"document.querySelector('#panes').style.width = '{width}'")
        time.sleep(0.3)
        found = opened.js(tops)
        assert [found.count(top) for top in sorted(set(found))] == rows


def test_the_slider_begins_with_bicubic_and_the_cheapest_model(opened):
    assert opened.js("[$('left').value, $('right').value]") == ['bicubic', 'small']


def test_a_table_that_is_too_wide_says_so(opened):
    hint = "getComputedStyle($('more')).display"
    assert opened.js(hint) == 'none'
    opened.js("document.querySelector('.scroll').style.width = '200px'")
    time.sleep(0.3)
    assert opened.js(hint) == 'block'


def test_plots_have_a_point_for_each_model(opened):
    labels = opened.js(
        "[...document.querySelectorAll('#plots svg')].map(svg => "
        "[...svg.querySelectorAll('circle')].map(dot => [+dot.getAttribute('cx'), "
        "+dot.getAttribute('cy'), dot.textContent]))"
    )
    assert len(labels) == 3
    for large, small in (sorted(found, key=lambda point: point[2]) for found in labels):
        assert large[2].startswith('large: 26.50') and small[2].startswith('small: 27.50')
        assert small[0] < large[0] and small[1] < large[1]  # cheaper is left, better is up


def test_a_page_bounds_its_pictures():
    noise = np.random.default_rng(0).integers(0, 256, (600, 700, 3), np.uint8)
    gallery = page.Gallery(2, limit=3_000_000)
    for name in 'abc':
        gallery.add(name, {'LQ': noise[::4, ::4], 'GT': noise})
    assert [len(gallery.shown), gallery.left_out] == [2, 1]
    left, top, width, height = gallery.shown[0]['box']
    assert (width, height) == (page.SIDE, page.SIDE)
    content = base64.b64decode(re.sub('^data:image/png;base64,', '', gallery.shown[0]['sources']['GT']))
    np.testing.assert_array_equal(
        cv2.imdecode(np.frombuffer(content, np.uint8), 1), noise[top : top + height, left : left + width]
    )
    assert len(page.render(CONTENT, gallery)) < 3_000_000 + Path(page.TEMPLATE).stat().st_size + 10_000
    small = page.Gallery(2, limit=100)
    small.add('a', {'LQ': noise, 'GT': noise})
    assert [len(small.shown), small.left_out] == [0, 1]
