"""Small networks of other projects with random weights, as spandrel builds them, and their files."""

from importlib import import_module

import torch

X4 = {'upscale': 4}
SWIN = {'depths': [2, 2], 'num_heads': [2, 2], 'mlp_ratio': 2, 'upsampler': 'pixelshuffle', 'embed_dim': 12}
NETWORKS = {  # name -> package of spandrel, class, arguments
    'SwinIR': ('SwinIR', 'SwinIR', {**X4, **SWIN, 'img_size': 16, 'window_size': 8, 'resi_connection': '1conv'}),
    'HAT': ('HAT', 'HAT', {**X4, **SWIN, 'img_size': 64, 'window_size': 16, 'squeeze_factor': 4}),
    'DAT': (
        'DAT',
        'DAT',
        {**X4, 'split_size': [8, 8], 'depth': [2, 2], 'num_heads': [2, 2], 'embed_dim': 32, 'expansion_factor': 2},
    ),
    'DRCT': ('DRCT', 'DRCT', {**X4, **SWIN, 'img_size': 64, 'window_size': 16, 'gc': 8}),
    'RealPLKSR': ('PLKSR', 'RealPLKSR', {'dim': 16, 'n_blocks': 4, 'upscaling_factor': 4}),
    'OmniSR': ('OmniSR', 'OmniSR', {'num_feat': 16, 'res_num': 1, 'up_scale': 4, 'window_size': 8}),
}


def random_state(name, **more):
    """The tensors of a random network; ``more`` replaces arguments of its constructor."""
    package, kind, arguments = NETWORKS[name]
    torch.manual_seed(0)
    return getattr(import_module(f'spandrel.architectures.{package}'), kind)(**{**arguments, **more}).state_dict()


def random_file(folder, name, **more):
    """A file with ``random_state``, as BasicSR saves weights."""
    path = folder / f'{name}.pth'
    torch.save({'params_ema': random_state(name, **more)}, path)
    return path
