"""Weights for ``sdakd init`` without downloads."""

import pytest
import torch


@pytest.fixture(scope='session')
def alexnet(tmp_path_factory):
    """Random weights of AlexNet's features, for LPIPS."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'alexnet.pth'
    torch.save({key: value.half() for key, value in alexnet().features.state_dict().items()}, path)
    return path
