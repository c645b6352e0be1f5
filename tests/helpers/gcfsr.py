"""Small GCFSR networks."""

SIZE = 64
NET_G = {'type': 'GCFSR', 'out_size': SIZE, 'num_style_feat': 32, 'narrow': 1 / 32}
NET_D = {'type': 'GCFSRDiscriminator', 'out_size': SIZE, 'narrow': 1 / 32}
