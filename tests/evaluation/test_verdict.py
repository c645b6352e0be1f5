import pytest

from sdakd_plugin.evaluation.verdict import verdict


def rows(student, bicubic, teacher=None):
    found = [{'method': 'bicubic', **bicubic}, {'method': 'student', **student}]
    return found + ([{'method': 'teacher', **teacher}] if teacher else [])


@pytest.mark.parametrize(
    'student, bicubic, teacher, expected',
    [
        ({'psnr': 20.55}, {'psnr': 25.87}, None, 'student: PSNR 20.55 dB is 5.32 dB below bicubic. It has'),
        ({'psnr': 20.55}, {'psnr': 25.87}, {'psnr': 20.9}, None),  # so is its teacher
        ({'psnr': 25.1}, {'psnr': 25.87}, None, None),
        ({'psnr': 22.0, 'lpips': 0.21}, {'psnr': 25.87, 'lpips': 0.44}, None, None),  # what GANs are for
        (
            {'psnr': 26.5, 'lpips': 0.45},
            {'psnr': 25.87, 'lpips': 0.44},
            None,
            'student: LPIPS 0.4500 is not better than',
        ),
        ({'niqe': 5.0}, {'niqe': 7.0}, None, None),
        ({'psnr': float('nan')}, {'psnr': 25.0}, None, None),
    ],
)
def test_a_student_worse_than_bicubic_is_named(student, bicubic, teacher, expected):
    found = verdict(rows(student, bicubic, teacher), ['student'])
    assert bool(found) == bool(expected)
    assert not expected or found[0].startswith(expected)
