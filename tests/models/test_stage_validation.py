"""Validation at the end of a stage runs before the next iteration, once for each time that the stage was trained."""

import json

from tests.helpers.training import build


def test_a_stage_that_is_trained_again_is_validated_again(options, tmp_path):
    options['val']['val_freq'] = 100
    options['path']['experiments_root'] = str(tmp_path)
    options['datasets']['val'].update(phase='val', scale=4)
    entry = {'iter': 2, 'stage': 'x', 'dataset': 'val', 'metrics': {'psnr': 30.0}}
    model = build(options)
    validation, seen = model.stage_validation, []
    validation.opt['val'] = options['val']
    validation._validate = lambda loader, iteration, *_: seen.append((loader.dataset.opt['name'], iteration))
    (tmp_path / 'validations.json').write_text(json.dumps([entry]))
    for resumed, expected in ((0, [('val', 2)]), (1, [('val', 2)]), (2, [])):
        validation.resumed = resumed
        for iteration in (1, 2, 3, 4):
            validation.end_stage_before(iteration)
        assert seen == expected
        seen.clear()
