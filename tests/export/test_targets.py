"""The code of ``docs/targets.md`` runs as printed, and enlarges as ``sdakd upscale`` does."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from sdakd_plugin import cli
from tests.helpers.paths import ROOT

TEXT = (ROOT / 'docs/targets.md').read_text()
NANO = 'sdakd_nano_x4'


def section(title):
    (found,) = re.findall(rf'^## {re.escape(title)}\n(.+?)(?=^## |\Z)', TEXT, re.DOTALL | re.MULTILINE)
    return found


def block(title, language):
    (found,) = re.findall(rf'```{language}\n(.+?)```', section(title), re.DOTALL)
    return found


def exported(title):
    """Run the section's export."""
    (line,) = re.findall(r'^ {4}sdakd (export [^#\n]+)', section(title), re.MULTILINE)
    assert cli.main(line.split()) == 0


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """The picture of ``sdakd upscale`` for the photograph ``photo.png``."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('photo.png', astronaut()[:128, 128:256, ::-1])
    assert cli.main(['upscale', 'photo.png', 'reference.png', '--model', NANO, '--backend', 'torch']) == 0
    return cv2.imread('reference.png').astype(int)


def assert_same(found, reference, levels=1):
    assert found.shape == reference.shape == (512, 512, 3)
    assert np.abs(found.astype(int) - reference).max() <= levels


@pytest.mark.parametrize(
    'title, packages',
    [
        ('Processor: OpenVINO', ('openvino', 'onnx')),
        ('Android: ncnn', ('ncnn', 'pnnx')),
        ('Android: LiteRT', ('litert_torch',)),
    ],
)
def test_the_python_code_runs(title, packages, reference):
    for package in packages:
        pytest.importorskip(package)
    exported(title)
    exec(compile(block(title, 'python'), title, 'exec'), {})
    assert_same(cv2.imread('large.png'), reference)


MAIN = """
#include <cstdio>
int main()
{
    ncnn::Net net;
    if (net.load_param("sdakd_nano_x4.ncnn.param") || net.load_model("sdakd_nano_x4.ncnn.bin"))
        return 1;
    std::vector<unsigned char> rgb(128 * 128 * 3);
    if (fread(rgb.data(), 1, rgb.size(), stdin) != rgb.size())
        return 2;
    const std::vector<unsigned char> large = enlarge(net, rgb.data(), 128, 128);
    return fwrite(large.data(), 1, large.size(), stdout) != large.size();
}
"""


def test_the_cpp_code_runs(reference):
    pytest.importorskip('pnnx')
    root = Path(os.environ.get('NCNN_ROOT', '/usr'))
    if not (root / 'include/ncnn/net.h').exists() or not shutil.which('g++'):
        pytest.skip('needs g++ and an installed ncnn; NCNN_ROOT names its folder')
    exported('Android: ncnn')
    Path('enlarge.cpp').write_text(block('Android: ncnn', 'cpp') + MAIN)
    command = ['g++', '-std=c++11', '-Wall', '-Werror', '-fopenmp', 'enlarge.cpp', f'-I{root}/include', f'-L{root}/lib']
    subprocess.run([*command, '-lncnn', '-o', 'enlarge'], check=True)
    done = subprocess.run(['./enlarge'], input=cv2.imread('photo.png')[..., ::-1].tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert_same(np.frombuffer(done.stdout, np.uint8).reshape(512, 512, 3)[..., ::-1], reference)


def test_the_core_ml_file_is_exported(reference):
    pytest.importorskip('coremltools')
    exported('iOS and macOS: Core ML')
    assert Path(f'{NANO}.mlpackage/Manifest.json').exists()
