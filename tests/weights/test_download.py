"""Missing weights are downloaded once, visibly, or reported in a one-line error."""

import hashlib
import io
import json
import os
import shutil
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from torchvision.models import get_model

from sdakd_plugin.weights import KNOWN
from tests.helpers import fresh
from tests.helpers.paths import ROOT

FETCHED = [name for name, known in KNOWN.items() if not known.packaged and known.downloadable]

BACKBONES = ('vgg19', 'vgg16', 'alexnet')
PERCEPTUAL = {'type': 'PerceptualLoss', 'layer_weights': {'conv1_2': 0.1, 'conv5_3': 1.0}, 'perceptual_weight': 1.0}


def small_file(network):
    """A weight file of a network: every tensor constant and stored as one number, so VGG19's has some kilobytes."""
    return saved({name: value.expand(shape) for name, (value, shape) in averages(network).items()})


def averages(network):
    """By the names of a network's tensors a number and a shape; a layer averages, so that no feature grows without
    bounds."""
    return {name: (torch.full((), 1 / value[:1].numel()), value.shape) for name, value in network.state_dict().items()}


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.fixture(scope='module')
def files():
    """All weights that anything in the plugin downloads, as the files on a server: by name, then by file name."""
    from basicsr.archs import build_network

    found = {}
    for name in BACKBONES:
        with torch.device('meta'):
            network = get_model(name)
        content = small_file(network)
        found[name] = f'{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth', content
    for name in FETCHED:
        weights = KNOWN[name]
        network = build_network(weights.network)
        state = {key: value.expand(shape).contiguous() for key, (value, shape) in averages(network).items()}
        found[name] = f'{name}.pth', saved({weights.param_key: state})
    return found


@pytest.fixture
def server(files):
    """Serves them on loopback; ``asked`` has what was asked for."""
    contents = {f'/{name}': content for name, content in files.values()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path[1:])
            self.send_response(200)
            self.send_header('Content-Length', str(len(contents[self.path])))
            self.end_headers()
            self.wfile.write(contents[self.path])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.asked = []
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def addresses(folder, files, port):
    """Tell the processes in a folder where everything is; their addresses."""
    urls = {name: f'http://127.0.0.1:{port}/{file}' for name, (file, _) in files.items()}
    (folder / fresh.URLS).write_text(json.dumps(urls))
    return urls


def with_loss(options, block, **metrics):
    """A run of two iterations with a loss for its backbone."""
    options = deepcopy(options)
    train = options['train']
    for key in ('gan_opt', 'feature_opt', 'optim_d'):
        del train[key]
    del options['network_d'], options['teacher']
    stages = [{'name': 'one', 'iters': 2, 'losses': ['pixel', 'perceptual']}]
    train.update(perceptual_opt=block, total_iter=2, stages=stages)
    options['val']['metrics'].update(metrics)
    return options


LOSSES = [
    ('vgg19', {**PERCEPTUAL, 'vgg_type': 'vgg19'}),
    ('vgg16', {**PERCEPTUAL, 'vgg_type': 'vgg16'}),
    ('vgg19', {'type': 'VGGMSELoss', 'layer': 'conv2_2'}),
    ('vgg16', {'type': 'LPIPSLoss', 'net': 'vgg', 'target': 'gt'}),
    ('alexnet', {'type': 'LPIPSLoss', 'net': 'alex', 'target': 'gt'}),
]


@pytest.mark.parametrize(('name', 'block'), LOSSES)
def test_a_backbone_is_downloaded_once_before_training(stock, options, files, server, name, block):
    urls = addresses(stock.folder, files, server.server_port)
    text = stock.ok('sdakd train', with_loss(options, block), function='tests.helpers.fresh:main')
    assert server.asked == [files[name][0]]
    assert f'Downloading {urls[name]} to {stock.folder}/home/torch/hub/checkpoints\n' in text
    assert '100%' in text and text.index('100%') < text.index('Start training')
    assert (stock.folder / 'home/torch/hub/checkpoints' / files[name][0]).read_bytes() == files[name][1]


def test_the_check_downloads_what_the_run_needs(stock, options, files, server):
    """A loss, a metric and two networks by their known names; the training that follows finds them all."""
    urls = addresses(stock.folder, files, server.server_port)
    options = with_loss(options, LOSSES[0][1], lpips={'type': 'calculate_lpips', 'better': 'lower'})
    options['teacher'] = {'pretrain_network_g': 'realesr-general-x4v3'}
    options['train']['teacher_pixel_opt'] = {'type': 'L1Loss'}
    options['train']['stages'][0]['losses'].append('teacher_pixel')
    text = stock.ok('sdakd check', options, function='tests.helpers.fresh:main')
    for name in ('vgg19', 'alexnet', 'realesr-general-x4v3'):
        assert f'Downloading {urls[name]} to ' in text
    assert 'is fine' in text and len(server.asked) == 3
    assert not (stock.folder / 'experiments').exists()
    assert 'Downloading' not in stock.ok('sdakd train', options, function='tests.helpers.fresh:main')
    assert len(server.asked) == 3


@pytest.mark.parametrize(('name', 'block'), LOSSES)
def test_without_a_connection_one_line_names_address_and_places(stock, options, files, name, block):
    urls = addresses(stock.folder, files, 9)  # a port that refuses
    done = stock.run('sdakd train', with_loss(options, block), function='tests.helpers.fresh:main')
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith('error: train.perceptual_opt: ') and 'Connection refused' in error
    assert urls[name] in error and str(stock.folder / 'home/torch/hub/checkpoints' / files[name][0]) in error
    if block.get('vgg_type') == 'vgg19':
        assert str(stock.folder / 'experiments/pretrained_models/vgg19-dcbb9e9d.pth') in error
    assert 'Traceback' not in done.stderr and not (stock.folder / 'experiments').exists()


@pytest.mark.parametrize('name', FETCHED)
def test_every_known_weight_can_be_downloaded(stock, files, server, name):
    addresses(stock.folder, files, server.server_port)
    done = weights_get(stock, name)
    target = stock.folder / 'home/torch/hub/checkpoints' / f'{name}.pth'
    assert done.returncode == 0 and done.stdout.strip() == str(target), done.stderr
    assert 'Downloading' in done.stderr and '100%' in done.stderr
    assert target.read_bytes() == files[name][1]


@pytest.mark.parametrize('name', FETCHED)
def test_every_known_weight_says_where_it_belongs(stock, files, name):
    urls = addresses(stock.folder, files, 9)
    done = weights_get(stock, name)
    error = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and 'Connection refused' in error
    assert urls[name] in error and str(stock.folder / 'home/torch/hub/checkpoints' / f'{name}.pth') in error


def weights_get(stock, name):
    arguments = ['weights', 'get', name]
    stock.warm.start(stock.folder, arguments, function='tests.helpers.fresh:main')
    return stock.warm.wait(stock.folder, arguments)


def test_vgg16_passes_over_the_file_of_vgg19(stock, options, files, server):
    """BasicSR loads the file at that place for every type."""
    addresses(stock.folder, files, server.server_port)
    place = stock.folder / 'experiments/pretrained_models/vgg19-dcbb9e9d.pth'
    place.parent.mkdir(parents=True)
    place.write_bytes(files['vgg19'][1])
    stock.ok('sdakd check', with_loss(options, LOSSES[1][1]), function='tests.helpers.fresh:main')
    assert server.asked == [files['vgg16'][0]]
    server.asked.clear()
    stock.ok('sdakd check', with_loss(options, LOSSES[0][1]), function='tests.helpers.fresh:main')
    place.write_bytes(files['vgg16'][1])  # whose name is wrong, and which BasicSR takes all the same
    shutil.rmtree(stock.folder / 'home')
    stock.ok('sdakd check', with_loss(options, LOSSES[1][1]), function='tests.helpers.fresh:main')
    assert server.asked == []


def test_a_damaged_vgg_is_named(stock, options, files):
    addresses(stock.folder, files, 9)
    place = stock.folder / 'experiments/pretrained_models/vgg19-dcbb9e9d.pth'
    place.parent.mkdir(parents=True)
    place.write_bytes(b'half of it')
    done = stock.run('sdakd check', with_loss(options, LOSSES[0][1]), function='tests.helpers.fresh:main')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert f'error: train.perceptual_opt: {place.relative_to(stock.folder)} is damaged' in done.stderr.splitlines()[-1]


@pytest.mark.long
def test_stock_train_downloads_for_everybody_to_see(stock, options, files, server):
    urls = addresses(stock.folder, files, server.server_port)
    (stock.folder / 'sitecustomize.py').write_text('from tests.helpers.fresh import arrive\narrive()\n')
    path = os.pathsep.join([str(stock.folder), str(ROOT)])
    text = stock.ok('basicsr/train.py', with_loss(options, LOSSES[0][1]), env={'PYTHONPATH': path})
    assert server.asked == [files['vgg19'][0]]
    assert f'Downloading {urls["vgg19"]} to ' in text and '100%' in text


def test_nothing_takes_standard_output_away():
    """What writes to it, as torch.hub does before a download, would end in an AttributeError."""
    for path in Path(ROOT, 'sdakd_plugin').rglob('*.py'):
        assert 'redirect_stdout(None' not in path.read_text() and 'redirect_stderr(None' not in path.read_text(), path
