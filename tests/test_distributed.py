"""Two processes on a CPU (gloo): every stage, connectors, peers and cohorts train, and all processes agree."""
import copy
import pickle
import subprocess
import sys

import pytest

from tests.conftest import ROOT, UNET
from tests.test_gcfsr_training import run  # noqa: F401

pytestmark = pytest.mark.slow

WORKER = '''
import os, pickle, sys, torch, torch.distributed as dist
from basicsr.models import build_model
options, rank, store = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group('gloo', rank=rank, world_size=2, init_method='file://' + store)
with open(options, 'rb') as file:
    opt = pickle.load(file)
torch.manual_seed(0)
model = build_model({**opt, 'is_train': True, 'dist': True, 'rank': rank, 'world_size': 2})
torch.manual_seed(100 + rank)  # each process has data of its own
for iteration in range(1, opt['train']['total_iter'] + 1):
    model.update_learning_rate(iteration)
    model.feed_data({'lq': torch.rand(2, 3, 16, 16), 'gt': torch.rand(2, 3, 64, 64)})
    model.optimize_parameters(iteration)
    model.get_current_log()
modules = dict(model.connectors)
for member in getattr(model, 'members', [model]):
    modules.update({f'{name}{member.label}': getattr(member, name) for name in ('net_g', 'net_d', 'net_d_peer')
                    if getattr(member, name) is not None})
for name, module in modules.items():
    for parameter in module.parameters():
        both = [torch.zeros_like(parameter) for _ in range(2)]
        dist.all_gather(both, parameter.detach())
        assert torch.equal(*both), name
print('agree:', *sorted(modules), flush=True)
dist.barrier()  # who leaves first would end the other's connection
os._exit(0)  # gloo's threads sometimes abort a process that is torn down in order, after all is done
'''


def run_two(options, folder):
    """Run the worker twice; what the first process printed last."""
    options = copy.deepcopy(options)
    options.pop('val')
    (folder / 'options.pkl').write_bytes(pickle.dumps(options))
    command = [sys.executable, '-W', 'ignore', '-c', WORKER, str(folder / 'options.pkl')]
    processes = [subprocess.Popen([*command, str(rank), str(folder / 'store')], stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.PIPE, cwd=ROOT) for rank in range(2)]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return outputs[0][0].splitlines()[-1]


def test_sdakd_with_every_term(options, small_teacher, tmp_path):
    options['teacher'].update(network_d={**UNET, 'num_feat': 16}, pretrain_network_d=str(small_teacher / 'net_d.pth'))
    options['network_d_peer'] = dict(UNET)
    options['train']['feature_d_opt'] = {'type': 'FeatureAlignmentLoss', 'layers': ['conv3']}
    options['train']['mutual_opt'] = {'type': 'MutualDiscriminatorLoss'}
    options['train']['stages'][1]['losses'] = ['feature']  # reaches a part of the student only
    options['train']['stages'][2]['losses'] += ['feature_d', 'mutual']
    assert run_two(options, tmp_path) == 'agree: feature feature_d net_d net_d_peer net_g'


def test_a_cohort_that_exchanges_features(options, tmp_path):
    del options['teacher'], options['train']['stages'], options['train']['feature_opt']
    options.update(model_type='MutualSRGANModel', network_d=dict(UNET),
                   cohort=[{'name': 'a', 'manual_seed': 1}, {'name': 'b', 'manual_seed': 2}])
    options['train'].update(total_iter=3, mutual_opt={'type': 'FeatureAlignmentLoss', 'layers': ['conv3']})
    assert run_two(options, tmp_path) == 'agree: mutual_0_1 mutual_1_0 net_d_a net_d_b net_g_a net_g_b'


def test_gcfsr_with_r1(run, tmp_path):  # noqa: F811
    assert run_two(run, tmp_path) == 'agree: feature net_d net_g'
