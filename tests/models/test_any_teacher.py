"""Teachers of other projects, told by their file alone, teach through stock ``basicsr/train.py``."""

import pytest
import torch

from tests.helpers.other_networks import random_file

COMPACT = {'type': 'SRVGGNetCompact', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_conv': 4, 'upscale': 4}


@pytest.fixture
def run(options, tmp_path):
    """Two iterations with a teacher's image and features, on crops of 18 pixels: no multiple of a window."""
    options['network_g'] = COMPACT
    options['datasets']['train']['gt_size'] = 72
    options['train'] = {
        **options['train'],
        'total_iter': 2,
        'stages': None,
        'teacher_pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        'feature_opt': {'type': 'FeatureAlignmentLoss', 'layers': 2, 'loss_weight': 0.1},
    }
    for name in ('pixel_opt', 'gan_opt'):
        del options['train'][name]
    del options['val'], options['datasets']['val'], options['network_d']
    return options


@pytest.mark.parametrize('name', ['SwinIR', 'HAT', 'DAT', 'RealPLKSR'])
def test_a_transformer_or_a_network_of_large_kernels_teaches(stock, run, tmp_path, name):
    run['teacher'] = {'pretrain_network_g': str(random_file(tmp_path, name))}
    log = stock.ok('basicsr/train.py', run)
    print(log[-3000:])
    assert 0
