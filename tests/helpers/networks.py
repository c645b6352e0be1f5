"""Option blocks of small networks, and a random network with visible output images."""

import torch
from torch import nn

STUDENT = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2, 'num_grow_ch': 4}
TEACHER = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 2, 'num_grow_ch': 8}
UNET = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8}


@torch.no_grad()
def lively(network: dict) -> nn.Module:
    """A random network whose images are not all but black: their mean is 0.5, their deviation 0.2."""
    from basicsr.archs import build_network

    torch.manual_seed(0)
    net = build_network(dict(network)).eval()
    if network['type'] == 'RRDBNet':
        deviation = net(torch.rand(1, network['num_in_ch'], 16, 16)).std()
        net.conv_last.weight *= 0.2 / deviation
        net.conv_last.bias.fill_(0.5)
    return net.requires_grad_(False)
