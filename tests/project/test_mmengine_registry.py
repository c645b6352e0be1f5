"""mmengine builds the plugin's networks and losses by name in the scope ``sdakd``."""

import subprocess
import sys

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from mmengine.registry import MODELS

import sdakd_plugin.mmengine_registry

FRESH = """
import sys
from mmengine.config import Config
from mmengine.registry import MODELS
if len(sys.argv) > 1:
    Config.fromfile(sys.argv[1])
else:
    import sdakd_plugin.losses
print(type(MODELS.build(dict(type='sdakd.SRGANGenerator', num_feat=4, num_block=1, upscale=2))).__module__)
"""


def test_networks_are_basicsrs_classes_with_the_given_options():
    net = MODELS.build({'type': 'sdakd.SRGANGenerator', 'num_feat': 4, 'num_block': 1, 'upscale': 2})
    assert type(net) is ARCH_REGISTRY.get('SRGANGenerator')
    assert net(torch.rand(1, 3, 8, 6)).shape == (1, 3, 16, 12)


def test_losses_are_there_and_count():
    loss = MODELS.build({'type': 'sdakd.MutualDiscriminatorLoss', 'loss_weight': 2.0})
    once = MODELS.build({'type': 'sdakd.MutualDiscriminatorLoss'})
    logits, peer = torch.tensor([[1.0]]), torch.tensor([[-1.0]])
    assert loss(logits, peer) == 2 * once(logits, peer) > 0


def test_only_the_plugins_own_are_registered():
    MODELS.build({'type': 'sdakd.MutualDiscriminatorLoss'})
    names = set(sdakd_plugin.mmengine_registry.MODELS.module_dict)
    assert {'GCFSR', 'StudentDiscriminator', 'LPIPSLoss', 'FeatureAlignmentLoss', 'VGGMSELoss'} <= names
    assert not names & {'RRDBNet', 'L1Loss', 'GANLoss'}


@pytest.mark.parametrize('by_configuration', [True, False])
def test_a_fresh_process(tmp_path, by_configuration):
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['sdakd_plugin.mmengine_registry'])\n")
    arguments = [str(config)] * by_configuration
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', FRESH, *arguments], text=True, capture_output=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == 'sdakd_plugin.archs.srgan_arch'
