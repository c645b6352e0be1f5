"""Small networks of other projects with random weights, as spandrel builds them, and their files."""

import re
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
    'SPAN': ('SPAN', 'SPAN', {**X4, 'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 16}),
    'OmniSR': ('OmniSR', 'OmniSR', {'num_feat': 16, 'res_num': 1, 'up_scale': 4, 'window_size': 8}),
    'RestoreFormer': ('RestoreFormer', 'RestoreFormer', {'n_embed': 8, 'embed_dim': 8, 'ch': 32, 'z_channels': 8}),
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


def in_old_keys(state):
    """The tensors of a BasicSR RRDBNet of scale 4 under the keys of the first ESRGAN, the layers of a Sequential."""
    blocks = 1 + max(int(key.split('.')[1]) for key in state if key.startswith('body.'))
    layers = {'conv_first': '0', 'conv_body': f'1.sub.{blocks}', 'conv_up1': '3', 'conv_up2': '6', 'conv_hr': '8'}
    names = {**layers, 'conv_last': '10'}

    def old(key):
        layer, part = key.rsplit('.', 1)
        if layer in names:
            return f'model.{names[layer]}.{part}'
        block, dense, conv = re.fullmatch(r'body\.(\d+)\.rdb(\d)\.conv(\d)', layer).groups()
        return f'model.1.sub.{block}.RDB{dense}.conv{conv}.0.{part}'

    return {old(key): value for key, value in state.items()}


def in_own_keys(state):
    """The same under the keys of ESRGAN's second form, which BSRGAN and RealSR have."""
    names = (('body.', 'RRDB_trunk.'), ('rdb', 'RDB'), ('conv_body', 'trunk_conv'), ('conv_up', 'upconv'))
    renamed = {}
    for key, value in state.items():
        for mine, theirs in (*names, ('conv_hr', 'HRconv')):
            key = re.sub(rf'(^|\.){re.escape(mine)}', rf'\g<1>{theirs}', key)
        renamed[key] = value
    return renamed
