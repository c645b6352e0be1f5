"""`sdakd watch` as a process with a browser before it, and the report that a training leaves."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import requests
import torch

from sdakd_plugin.cli import main
from sdakd_plugin.watching import pictures
from sdakd_plugin.watching.page import write_report
from sdakd_plugin.watching.run_folder import RunFolder

LINE = (
    '2026-01-01 10:00:00,000 INFO: [run..][epoch:  0, iter:{iteration:8,d}, lr:(1.000e-04,)] [eta: 1 day, 0:00:10, '
    'time (data): 0.500 (0.001)] l_g_pix: 2.5000e-01 share_pix: 1.0000e+00 stage: 1 \n'
)
START = (
    'INFO: Training statistics:\n\tBatch size per gpu: 8\n\tWorld size (gpu number): 1\n'
    '\tTotal epochs: 1; iters: 900.\n'
    "INFO: Stage 1 of 2, '<b>first</b>': iterations 1 to 500; losses pixel; discriminator off.\n"
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that is going on, with pictures of one image at two iterations."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'experiments/my_run'
    for name in ('visualization/cat', 'references'):
        (folder / name).mkdir(parents=True)
    (folder / 'train_my_run_20260101.log').write_text(START + LINE.format(iteration=100))
    (folder / 'opt.yml').write_text(
        'name: my_run\nval: {save_img: true, metrics: {psnr: {type: p}, lpips: {type: l, better: lower}}}\n'
    )
    validated(folder, [(0, 20.0, 0.5), (50, 26.0, 0.2), (100, 25.0, 0.3)])
    for name in ('visualization/cat/cat_0', 'visualization/cat/cat_50', 'references/cat_teacher', 'references/cat_gt'):
        cv2.imwrite(str(folder / f'{name}.png'), np.full((24, 24, 3), len(name), np.uint8))
        os.utime(folder / f'{name}.png', (1e9, 1e9))
    (folder / 'secret.png').write_bytes(b'secret')
    return folder


def validated(folder, found):
    entries = [
        {'iter': at, 'stage': 'first', 'dataset': 'val', 'metrics': {'psnr': psnr, 'lpips': lpips}, 'elapsed': 61.0}
        for at, psnr, lpips in found
    ]
    (folder / 'validations.json').write_text(json.dumps(entries))


@contextmanager
def watching(*arguments):
    """`sdakd watch` with a free port: its process and its address."""
    program = (
        'import signal\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'  # ignored where the tests run in the background
        'from sdakd_plugin.cli import main\n'
        'raise SystemExit(main())'
    )
    command = [sys.executable, '-c', program, 'watch', *arguments, '--port', '0']
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process, re.search(r'http://127\.0\.0\.1:\d+/', process.stdout.readline())[0]
        finally:
            process.kill()


def get(url, **more):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=30, **more)


def texts(browser, selector):
    return browser.js(f"[...document.querySelectorAll('{selector}')].map(each => each.textContent)")


def test_a_run_is_shown_and_the_page_renews_itself(run, browser):
    with watching('my_run') as (_, url):
        browser.log('performance'), browser.log('browser')
        browser.post('url', url=url)
        facts = dict(zip(texts(browser, '#now span'), texts(browser, '#now b'), strict=True))
        assert facts == {
            'State': 'running',
            'Stage': '1 of 2, <b>first</b>',
            'Iteration': '100 of 900',
            'Images a second': '16.0',
            'Time left': '1 day, 0:00:10',
            'Trained for': '0:01:01',
        }
        cells = ['psnr', 'val', '25.00 @ 100', '26.00 @ 50', 'lpips', 'val', '0.3000 @ 100', '0.2000 @ 50']
        assert texts(browser, '#metric-rows td') == cells
        assert texts(browser, '#panes figcaption') == ['teacher', 'student @ 50', 'GT']
        time.sleep(0.5)
        assert browser.js("[...document.querySelectorAll('#panes img')].map(i => i.naturalWidth)") == [24, 24, 24]
        browser.keys('#step', '\ue011')  # Home: the first picture
        assert texts(browser, '#panes figcaption')[1] == 'student @ 0'
        before = {path: path.stat().st_mtime_ns for path in run.rglob('*')}

        with open(run / 'train_my_run_20260101.log', 'a') as file:
            file.write(LINE.format(iteration=1_00) + LINE.format(iteration=200))
        validated(run, [(0, 20.0, 0.5), (200, 27.0, 0.1)])
        deadline = time.time() + 20
        while time.time() < deadline and '27.00 @ 200' not in texts(browser, '#metric-rows td'):
            time.sleep(0.3)
        assert texts(browser, '#metric-rows td')[2] == '27.00 @ 200'
        assert '200 of 900' in texts(browser, '#now b')
        assert texts(browser, '#panes figcaption')[1] == 'student @ 0'  # what is looked at stays
        assert browser.log('browser') == []
        changed = {path for path, at in before.items() if path.stat().st_mtime_ns != at}
        assert {path.name for path in changed} <= {'train_my_run_20260101.log', 'validations.json'}
        assert set(run.rglob('*')) == set(before)
        asked = [entry['message'] for entry in browser.log('performance')]
        asked = [each['params']['request']['url'] for each in asked if each['method'] == 'Network.requestWillBeSent']
        assert all(each.startswith((url, 'data:', 'chrome')) for each in asked), asked


def test_nothing_else_is_served_nor_to_others(run):
    with watching(str(run)) as (process, url):
        assert get(url + 'visualization/cat/cat_50.png').content == (run / 'visualization/cat/cat_50.png').read_bytes()
        port = int(url.rsplit(':', 1)[1].strip('/'))
        for path in ('secret.png', 'opt.yml', '../../../etc/passwd', '%2e%2e/%2e%2e/opt.yml', '/etc/passwd', 'x%00'):
            with socket.create_connection(('127.0.0.1', port)) as connection:  # requests would tidy the path
                connection.sendall(f'GET /{path} HTTP/1.0\r\nHost: localhost:{port}\r\n\r\n'.encode())
                assert b' 404 ' in connection.makefile('rb').readline(), path
        assert get(url, headers={'Host': 'evil.example'}).status_code == 403
        assert (
            get(url, headers={'Host': f'localhost:{port + 1}'}).status_code == 200
        )  # forwarded by ssh to another port
        assert requests.post(url, timeout=30, proxies={'http': ''}).status_code == 501
        listening = subprocess.run(['cat', f'/proc/{process.pid}/net/tcp'], capture_output=True, text=True).stdout
        assert f' 0100007F:{port:04X} ' in listening and f' 00000000:{port:04X} ' not in listening


def test_ctrl_c_ends_it(run):
    with watching('my_run') as (process, url):
        get(url)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert 'Traceback' not in process.stdout.read()


def test_a_run_is_found_by_its_option_file_and_torch_is_not_imported(run):
    (run.parent.parent / 'mine.yml').write_text('name: my_run\n')
    with watching('mine.yml') as (process, url):
        assert get(url + 'data.json').json()['name'] == 'my_run'
        maps = subprocess.run(['cat', f'/proc/{process.pid}/maps'], capture_output=True, text=True).stdout
        assert 'cv2' in maps and 'torch' not in maps


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('my_rum', "there is no run 'my_rum' in {root}/experiments; did you mean 'my_run'?"),
        ('later.yml', 'later.yml: its run has not begun, as experiments/later has no log: sdakd train -opt later.yml'),
        ('none.yml', 'none.yml: there is no such option file'),
        ('notes.txt', 'notes.txt: is no option file, as it has no name'),
        ('experiments', 'experiments: is not the folder of a run, as it has no file train_*.log'),
    ],
)
def test_a_missing_run(run, tmp_path, capsys, name, said):
    (tmp_path / 'later.yml').write_text('name: later\n')
    (tmp_path / 'notes.txt').write_text('to do')
    assert main(['watch', name]) == 1
    assert capsys.readouterr().err == f'error: {said.format(root=tmp_path)}\n'


def test_a_new_run_of_the_same_name_replaces_the_old_one(run):
    with watching('my_run') as (_, url):
        assert get(url + 'data.json').json()['iteration'] == 100
        run.rename(run.with_name('my_run_archived'))  # as BasicSR does
        assert get(url + 'data.json').json()['stage'] is None
        run.mkdir()
        (run / 'train_my_run_20260102.log').write_text(START + LINE.format(iteration=7))
        found = get(url + 'data.json').json()
        assert (found['iteration'], len(found['losses']['l_g_pix']), found['metrics']) == (7, 1, [])


def test_a_port_that_is_taken(run, capsys):
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        assert main(['watch', 'my_run', '--port', str(port)]) == 1
    assert capsys.readouterr().err == f'error: --port: {port} is taken; choose another one, or 0 for any that is free\n'
    assert main(['watch', 'my_run', '--port', '70000']) == 1
    assert '0 to 65535' in capsys.readouterr().err


def test_a_run_without_pictures_says_so(run, browser):
    shutil.rmtree(run / 'visualization')
    with watching('my_run') as (_, url):
        browser.post('url', url=url)
        assert texts(browser, '#no-pictures') == ['None is saved yet.']
        (run / 'opt.yml').write_text('name: my_run\n')
        browser.post('url', url=url)
        assert 'val.save_img' in texts(browser, '#no-pictures')[0]


def test_each_mark_of_a_curve_has_a_number_of_its_own(run, browser):
    """Three digits were the same for 28.25 and 28.3."""
    validated(run, [(0, 28.25, 0.5), (50, 28.31, 0.2), (100, 28.30, 0.3)])
    with watching('my_run') as (_, url):
        browser.post('url', url=url)
        for curve in (1, 2):
            marks = texts(browser, f'#metrics figure:nth-of-type({curve}) .tick[text-anchor="end"]')
            assert len(marks) > 2 and len(set(marks)) == len(marks), marks
        assert '28.26' in texts(browser, '#metrics figure:first-of-type .tick')


def test_a_training_leaves_a_report(stock, options, browser):
    options['val']['save_img'] = True
    options['val']['metrics']['ssim']['better'] = 'lower'  # to see that the page reads it
    said = stock.ok('sdakd train', options)
    folder = stock.folder / 'experiments/run'
    assert 'Report: experiments/run/report.html' in said
    browser.log('performance'), browser.log('browser')
    browser.post('url', url=(folder / 'report.html').as_uri())
    assert texts(browser, '#now b')[:3] == ['finished', '3 of 3, adversarial', '6 of 6']
    assert browser.js("document.querySelectorAll('#metrics circle').length") == 2 * 4  # at 0, 2, 4 and 6
    assert texts(browser, '#metrics svg:first-of-type .tick')[-3:] == ['supervised', 'alignment', 'adversarial']
    assert texts(browser, '#losses .keys span') == ['pix', 'feature', 'gan']
    table = texts(browser, '#tables td')
    assert {'bicubic', 'teacher', 'student'} <= set(table)
    assert texts(browser, '#tables th')[-3:] == ['parameters', 'multiply-adds', 's/image']
    assert (folder / 'opt.yml').read_text() == browser.js("$('options').textContent")
    model = 'experiments/run/models/net_g_latest.pth'
    assert (stock.folder / model).is_file()
    assert browser.js("$('commands').textContent").splitlines() == [
        f'sdakd upscale photo.png enlarged.png --model {model}',
        f'sdakd export {model} --format onnx',
    ]
    assert texts(browser, '#panes figcaption') == ['teacher', 'student @ 6', 'GT']
    widths = "[...document.querySelectorAll('#panes img, #comparison img')].map(image => image.naturalWidth)"
    shown = browser.js(widths)
    assert shown[0] > 192 and shown[1:] == [192] * 3  # the comparison is above
    messages = [entry['message'] for entry in browser.log('performance')]
    asked = [each['params']['request']['url'] for each in messages if each['method'] == 'Network.requestWillBeSent']
    assert sum(url.startswith('file:') for url in asked) == 1 and not any(url.startswith('http') for url in asked)
    assert browser.log('browser') == []


def test_a_report_has_the_verdict_and_names_are_text(run, browser):
    psnr = {'bicubic': 26.0, 'teacher': 25.0, '<i>small</i>': 20.5}
    rows = [{'method': name, 'psnr': value, 'ssim': None, 'parameters': 89e3} for name, value in psnr.items()]
    (run / 'summary.json').write_text(json.dumps({'</script>': rows}))
    (run / 'opt.yml').write_text('name: </script><img src=x onerror="document.title=1">\n')
    browser.post('url', url=write_report(run).as_uri())
    assert texts(browser, '#tables h3') == ['</script>'] and browser.js('document.title').startswith('</script>')
    (verdict,) = texts(browser, '#tables .bad')
    assert verdict.startswith('<i>small</i>: PSNR 20.50 dB is 5.50 dB below bicubic. It has trained too little')


def test_each_member_of_a_cohort_has_its_curves_and_pictures(stock, cohort):
    cohort['val']['save_img'] = True
    stock.ok('sdakd train', cohort)
    folder = stock.folder / 'experiments/run'
    found = RunFolder(folder).content()
    assert [(each['metric'], each['student']) for each in found['metrics']] == [
        ('psnr', 'a'), ('ssim', 'a'), ('psnr', 'b'), ('ssim', 'b')
    ]  # fmt: skip
    assert {'l_g_pix_a', 'share_gan_b'} <= set(found['losses']) and len(found['commands']) == 4
    shown = pictures.embedded(folder)
    names = ['astronaut', 'chelsea', 'coffee', 'rocket']
    assert [(each['student'], each['name']) for each in shown] == [(s, name) for s in 'ab' for name in names]
    assert all(list(each['beside']) == ['GT'] for each in shown)  # there is no teacher


def test_the_teacher_s_pictures_change_nothing(stock, options, photos):
    """Also where a cache has taken the teacher's place."""
    weights = []
    options['teacher']['cache'] = 'cache'
    options['train']['teacher_pixel_opt'] = {'type': 'L1Loss', 'loss_weight': 1.0}
    options['train']['stages'] = [{'name': 'all', 'iters': 6, 'losses': ['pixel', 'teacher_pixel']}]
    del options['train']['feature_opt'], options['train']['gan_opt'], options['network_d']
    options['datasets']['train'] |= {'use_rot': False}
    for name, save_img in (('plain', False), ('run', True)):
        options['name'], options['val']['save_img'] = name, save_img
        stock.ok('sdakd train', options)
        weights.append(torch.load(stock.folder / f'experiments/{name}/models/net_g_latest.pth')['params'])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not (stock.folder / 'experiments/plain/references').exists()
    folder = stock.folder / 'experiments/run'
    assert [entry['steps'][-1][0] for entry in pictures.listed(folder)] in ([6] * 4, [4] * 4)
    gt = cv2.imread(str(folder / 'references/coffee_gt.png'))
    np.testing.assert_array_equal(gt, cv2.imread(str(photos / 'HR/coffee.png')))
    assert cv2.imread(str(folder / 'references/coffee_teacher.png')).shape == gt.shape
