"""Compares a resumed run with an uninterrupted one, bit for bit."""

import re

import torch


def equal(first, second):
    """Whether two trees of tensors and values are the same, bit for bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def losses(log):
    """The logged losses by iteration; times and learning rates left out."""
    return {
        int(iteration): re.sub(r'\(data\): [^]]*\] | images_per_second: \S+', '', rest).strip()
        for iteration, rest in re.findall(r'iter: +(\d+), lr.*?(l_.*)', log)
    }


def check_exact(stock, options, stops, **more):
    """Train at once; then, for each stop, as if the run had been stopped there, and resumed.

    ``more``: arguments of ``Stock.run``.
    """
    options['logger'].update(print_freq=1, save_checkpoint_freq=1, use_tb_logger=False)
    total = options['train']['total_iter']
    whole_losses = losses(stock.ok('sdakd train', options, **more))
    folder = stock.folder / 'experiments/run'
    whole = {path.name: torch.load(path, weights_only=True) for path in folder.glob(f'*/*{total}.*')}
    latest = {path.name: torch.load(path, weights_only=True) for path in folder.glob('models/*latest.pth')}
    assert len(whole) > 2 and len(whole_losses) == total
    for stop in sorted(stops, reverse=True):
        for path in folder.glob('*/*'):
            number = re.search(r'(\d+)\.(pth|state)$', path.name)
            if (number and int(number[1]) > stop) or path.name.endswith('latest.pth'):
                path.unlink()
        log = stock.ok('sdakd train', options, '--auto_resume', **more)
        assert f'iter: {stop}.' in log
        assert losses(log) == {k: value for k, value in whole_losses.items() if k > stop}, stop
        for name, content in {**whole, **latest}.items():
            path = next(folder.glob(f'*/{name}'))
            assert equal(torch.load(path, weights_only=True), content), (stop, name)
