"""Methods side by side: the field's metrics, and a picture whatever the images are."""
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr

from sdakd_plugin.data.sample_image_dataset import SampleImageDataset
from sdakd_plugin.deploy import compare, cost
from sdakd_plugin.deploy.picture import side_by_side


@pytest.fixture
def dataset():
    return SampleImageDataset({'name': 'x', 'type': 'SampleImageDataset', 'phase': 'val', 'scale': 4,
                               'center_crop': 128})


def test_metrics_are_basicsrs_means_over_the_images(dataset):
    metrics = compare.default_metrics(4)
    results = compare.compare({'bicubic': compare.bicubic(4)}, dataset, metrics, keep=4)
    images, truths = results['bicubic'].images, results['GT'].images
    expected = [calculate_psnr(images[name], truths[name], 4, test_y_channel=True) for name in images]
    assert len(expected) == 4
    assert results['bicubic'].metrics['psnr'] == pytest.approx(np.mean(expected))


def test_bicubic_is_the_benchmarks_baseline(shared):
    from basicsr.data import build_dataset
    block = {'name': 'Set5', 'type': 'PairedImageDataset', 'phase': 'val', 'scale': 4, 'io_backend': {'type': 'disk'},
             'dataroot_gt': str(shared / 'data/Set5/HR'), 'dataroot_lq': str(shared / 'data/Set5/LR_bicubic_x4')}
    result = compare.compare({'bicubic': compare.bicubic(4)}, build_dataset(block), compare.default_metrics(4))
    assert result['bicubic'].metrics['psnr'] == pytest.approx(28.43, abs=0.01)


def test_only_the_pictures_that_are_shown_are_kept(dataset):
    results = compare.compare({'bicubic': compare.bicubic(4)}, dataset, {}, keep=2)
    assert all(len(result.images) == 2 for result in results.values())


def test_the_picture_has_a_column_a_method_and_a_row_an_image(dataset):
    results = compare.compare({'bicubic': compare.bicubic(4)}, dataset, {})
    sheet = side_by_side({name: results[name].images for name in ('LR', 'bicubic', 'GT')}, {'bicubic': 'psnr 1.00'})
    assert sheet.size == (3 * (256 + 6) + 6, 46 + 3 * (256 + 6))


def test_grey_images_are_shown_too():
    class Grey:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return {'lq': torch.rand(1, 16, 16), 'gt': torch.rand(1, 64, 64), 'lq_path': 'a.png'}

    results = compare.compare({}, Grey(), {})
    assert results['GT'].images['a'].shape == (64, 64, 3)


def test_costs_are_those_of_the_reference():
    """mmengine's analysis of RRDBNet at 64x64: 16.698 M parameters and 73.4 G multiply-adds."""
    from basicsr.archs.rrdbnet_arch import RRDBNet
    found = cost.count(RRDBNet(3, 3), (3, 64, 64))
    assert found.parameters == 16_697_987
    assert found.multiply_adds / 1e9 == pytest.approx(73.4, abs=0.1)
