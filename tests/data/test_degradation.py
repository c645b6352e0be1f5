"""Real-ESRGAN's on-the-fly degradation in SDAKDModel, computed by BasicSR's own code without CUDA."""

import torch
from basicsr.models.realesrgan_model import RealESRGANModel

from sdakd_plugin.data.degradation import make_degradation
from sdakd_plugin.options import parse
from sdakd_plugin.stock.degradation import ContiguousJPEG
from tests.helpers.degradation import batches, degradation_options, seed


def test_it_is_basicsrs_pipeline_number_for_number(options, photos, monkeypatch):
    options = degradation_options(options, photos)
    seed(0)
    data = batches(options, 3)

    monkeypatch.setattr(torch.nn.Module, 'cuda', lambda self: self)  # the stock class insists on CUDA
    monkeypatch.setattr(torch.Tensor, 'cuda', lambda self: self)
    monkeypatch.setattr(RealESRGANModel.__mro__[1], '__init__', lambda self, opt: None)
    stock = RealESRGANModel(options)
    stock.opt, stock.device, stock.is_train = options, torch.device('cpu'), True
    monkeypatch.undo()
    monkeypatch.setattr(torch.Tensor, 'cuda', lambda self: self)
    stock.jpeger = ContiguousJPEG(differentiable=False)  # the one change of ours: on a CPU, stock fails without
    seed(1)
    expected = []
    for batch in data:
        stock.feed_data(batch)
        expected.append((stock.lq, stock.gt, stock.gt_usm))
    monkeypatch.undo()

    ours = make_degradation(options, parse(options), torch.device('cpu'))
    seed(1)
    for batch, (lq, gt, gt_usm) in zip(data, expected, strict=True):
        ours.feed_data(batch)
        assert torch.equal(ours.lq, lq) and torch.equal(ours.gt, gt) and torch.equal(ours.gt_usm, gt_usm)


def test_the_pool_hands_out_what_came_before(options, photos):
    options = degradation_options(options, photos)
    seed(0)
    ours = make_degradation(options, parse(options), torch.device('cpu'))
    seen = []
    for batch in batches(options, 3):
        ours.feed_data(batch)
        seen.append(ours.gt.clone())
        assert ours.lq.shape == (2, 3, 16, 16) and ours.gt.shape == (2, 3, 64, 64)
        assert ours.lq.min() >= 0 and ours.lq.max() <= 1
    filling = torch.cat(seen[:2])  # the pool of four is full after two batches of two
    assert all(any(torch.equal(image, earlier) for earlier in filling) for image in seen[2])
