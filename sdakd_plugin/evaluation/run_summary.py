"""The summary of a finished run: a table and a picture of bicubic, teacher and students."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataset
from basicsr.metrics import calculate_psnr
from torch import Tensor, nn

from sdakd_plugin import weights
from sdakd_plugin.data.against_teacher import AgainstTeacher
from sdakd_plugin.data.lq_photo_dataset import without_gt
from sdakd_plugin.data.scales import at_scales
from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.teacher import Teacher
from sdakd_plugin.evaluation import cost, dataset_comparison, quality
from sdakd_plugin.evaluation.picture import side_by_side
from sdakd_plugin.evaluation.table import markdown
from sdakd_plugin.evaluation.verdict import verdict
from sdakd_plugin.families.calling import folded, super_resolve
from sdakd_plugin.models import stage_validation
from sdakd_plugin.networks.build import build_network
from sdakd_plugin.networks.frozen import weights_are_local
from sdakd_plugin.options import parse

Row = dict[str, Any]


def summarise(opt: Mapping[str, Any], models: Path, folder: Path | None = None) -> str:
    """Compare bicubic, teacher and student on the validation sets of a run.

    Writes ``summary.md``, ``summary.json`` and, of the first set, ``comparison.png``. If they cannot be written, the
    text says so. Without validation sets nothing is compared or written.

    Args:
        opt: the run's options, as BasicSR's ``parse_options`` returned them.
        models: the folder that the students were saved in last.
        folder: for the files, an existing folder; ``None``: the run's own.

    Returns:
        The text: the tables, a remark on students that are worse than bicubic, and the paths of the files.
    """
    root = Path(opt['path']['experiments_root'])
    folder = folder or root
    files = ', '.join(_short(student_file(models, label)) for label, _ in parse(opt).students.values())
    datasets = validation_sets(opt)
    if not datasets:
        return f'\nNothing is compared: the option file names no validation data (datasets.val).\nStudent: {files}'
    device = torch.device('cuda' if opt['num_gpu'] != 0 and torch.cuda.is_available() else 'cpu')
    nets = load_networks(opt, models, device)
    tables: dict[str, list[Row]] = {}
    picture: Any = None
    for dataset in datasets:
        if without_gt(dataset.opt) and 'teacher' not in nets:
            continue
        name, rows, draw = compare_on(dataset, nets, opt, root, device)
        tables[name], picture = rows, picture or draw()
    text = '\n\n'.join(
        '\n\n'.join([name, markdown(rows), *verdict(rows, parse(opt).students)]) for name, rows in tables.items()
    )
    if picture is None:
        return f'\nNothing is compared: there is neither ground truth nor a teacher here.\nStudent: {files}'
    try:
        picture.save(folder / 'comparison.png')
        (folder / 'summary.md').write_text(text + '\n', encoding='utf-8')
        (folder / 'summary.json').write_text(json.dumps(_without_nan(tables), indent=2), encoding='utf-8')
        shown = f'Picture: {_short(folder / "comparison.png")}'
    except OSError as error:
        shown = f'Neither tables nor picture can be written in {folder}: {error.strerror}'
    return f'\n{text}\n\n{shown}\nStudent: {files}'


def compare_on(
    dataset: Any, nets: Mapping[str, nn.Module], opt: Mapping[str, Any], root: Path, device: torch.device
) -> tuple[str, list[Row], Callable[[], Any]]:
    """Compare bicubic and networks on one validation set; without ground truth, with the teacher's images.

    Returns:
        The name of the set, the table, and what draws the picture.
    """
    best, compared = 'GT', dict(nets)
    if without_gt(dataset.opt):
        best = 'teacher'
        dataset = AgainstTeacher(dataset, partial(enlarged, compared.pop(best), device))
    metrics = (opt.get('val') or {}).get('metrics') or quality.default_metrics(_scale(dataset[0]))
    methods = {
        'bicubic': quality.bicubic,
        **{name: dataset_comparison.network(net, device) for name, net in compared.items()},
    }
    results = dataset_comparison.compare(methods, dataset, metrics)
    results[best] = results.pop('GT')
    name = dataset.opt['name']
    start = {student: start_metrics(root, name, label) for student, (label, _) in parse(opt).students.items()}
    rows = make_rows(results, compared, dataset, device, start)

    def picture() -> Any:
        captions = {
            row['method']: ', '.join(f'{key} {row[key]:.2f}' for key in metrics if row.get(key) is not None)
            for row in rows
        }  # a metric may be undefined, such as NIQE for an image without contrast
        order = ['LR', 'bicubic', *compared, best]
        return side_by_side({method: results[method].images for method in order}, captions)

    return name, rows, picture


def enlarged(net: nn.Module, device: torch.device, lq: Tensor) -> Tensor:
    """A network's image (1, c, H, W) of an LQ image."""
    return super_resolve(net, lq.to(device))


def validation_sets(opt: Mapping[str, Any]) -> list[Any]:
    """The data sets as training validates on them: those without LQ images once at each scale."""
    blocks = [dict(block) for phase, block in opt['datasets'].items() if phase.split('_')[0] == 'val']
    return [view for block in blocks for view in at_scales(build_dataset(block), parse(opt).scales)]


def load_networks(opt: Mapping[str, Any], models: Path, device: torch.device) -> dict[str, nn.Module]:
    """The teacher, if there is one, and the students as they were saved last in the folder ``models``."""
    nets: dict[str, nn.Module] = {}
    options = parse(opt)
    block = options.first_teacher
    if block is not None and (block.cache is None or weights_are_local(block.pretrain_network_g)):
        nets['teacher'] = Teacher(block, ForwardPass(device)).net_g
    for name, (label, network) in options.students.items():
        path = student_file(models, label)
        student = build_network(network, 'network_g')
        weights.load_into(student, weights.load_state_dict(path, 'params_ema'), path, name)
        nets[name] = folded(student).to(device).eval()
    return nets


def student_file(models: Path, label: str) -> Path:
    """The file of a student as it was saved last."""
    return models / f'net_g{label}_latest.pth'


def make_rows(
    results: Mapping[str, dataset_comparison.Result],
    nets: Mapping[str, nn.Module],
    dataset: Any,
    device: torch.device,
    start: Mapping[str, Mapping[str, float]],
) -> list[Row]:
    """One row for each method: metrics, PSNR to the teacher's images, parameters, multiply-adds and seconds for the
    first image of the data set."""
    lq = dataset[0]['lq'].unsqueeze(0).to(device)
    rows: list[Row] = [{'method': 'bicubic', **results['bicubic'].metrics, **psnr_to_teacher(results, 'bicubic')}]
    for name, net in nets.items():
        if start.get(name):
            rows.append({'method': f'{name} before training', **start[name]})
        found = cost.count(net, lq.shape[1:])
        rows.append(
            {
                'method': name,
                **results[name].metrics,
                **psnr_to_teacher(results, name),
                'parameters': found.parameters,
                'multiply-adds': found.multiply_adds,
                's/image': cost.seconds(net, lq),
            }
        )
    return rows


def psnr_to_teacher(results: Mapping[str, dataset_comparison.Result], method: str) -> dict[str, float]:
    """The PSNR on luma between a method's first images and the teacher's, where there is a teacher."""
    if 'teacher' not in results or method == 'teacher':
        return {}
    values = [
        calculate_psnr(image, results['teacher'].images[name], crop_border=0, test_y_channel=True)
        for name, image in results[method].images.items()
    ]
    nearest = float(np.mean(values))
    return {'psnr to teacher': nearest} if np.isfinite(nearest) else {}


def start_metrics(root: Path, dataset: str, label: str) -> dict[str, float]:
    """The metrics of the validation before the first iteration, if there was one."""
    entries = stage_validation.read(str(root / stage_validation.file_name(label)))
    return next((entry['metrics'] for entry in entries if (entry['iter'], entry['dataset']) == (0, dataset)), {})


def _without_nan(tables: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The tables with ``None`` for NaN, which JSON does not have."""
    return {
        name: [{key: None if value != value else value for key, value in row.items()} for row in rows]
        for name, rows in tables.items()
    }


def _scale(item: Mapping[str, Any]) -> int:
    return item.get('lq_scale') or item['gt'].shape[-1] // item['lq'].shape[-1]


def _short(path: Path) -> str:
    return os.path.relpath(path)
