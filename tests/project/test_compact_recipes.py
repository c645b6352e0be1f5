"""The option files for compact students at a small size, from a folder of photographs to stock testing."""

import re

import pytest

from tests.helpers.option_files import read
from tests.helpers.posix import WORKERS


def made_small(opt, photos):
    """The same recipe with small networks, two iterations a stage, and without losses whose backbone is a download."""
    opt['num_gpu'] = 0
    for block in opt['datasets'].values():
        block['dataroot_gt'] = str(photos / 'HR')
    small = {'SRVGGNetCompact': {'num_feat': 8, 'num_conv': 4}, 'SPAN': {'feature_channels': 8}}
    opt['network_g'].update(small[opt['network_g']['type']])
    opt['val']['metrics'].pop('lpips', None)
    if 'train' not in opt:
        return opt
    opt['datasets']['train'].update(gt_size=64, batch_size_per_gpu=2, num_worker_per_gpu=WORKERS)
    opt['network_d']['teacher']['num_feat'] = 8
    opt['teacher'] = {
        'pretrain_network_g': 'untrained',
        'network_g': {
            'type': 'RRDBNet',
            'num_in_ch': 3,
            'num_out_ch': 3,
            'scale': opt['scale'],
            'num_feat': 8,
            'num_block': 5,
            'num_grow_ch': 4,
        },
    }
    del opt['train']['perceptual_opt']
    for stage in opt['train']['stages']:
        stage['iters'] = 2
        stage['losses'] = [loss for loss in stage['losses'] if loss != 'perceptual']
    opt['train'].update(total_iter=6)
    opt['logger'].update(print_freq=1, use_tb_logger=False)
    return opt


@pytest.mark.long
@pytest.mark.parametrize('name', ['compact_x4', 'compact_x2', 'span_x4'])
def test_through_stock_training_and_testing(stock, photos, name):
    log = stock.ok('basicsr/train.py', made_small(read(name), photos))
    assert re.search(r'iter: +6,.*l_g_feature.*l_g_gan.*stage: 3 ', log) and 'nan' not in log
    tested = stock.ok('basicsr/test.py', made_small(read(f'test/{name}'), photos))
    assert len(re.findall('# psnr:', tested)) == 2  # clean and degraded
