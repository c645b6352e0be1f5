"""Where the time of a step goes, by torch's profiler."""
from __future__ import annotations

from torch.profiler import ProfilerActivity, profile

from benchmarks.step.plan import Plan
from benchmarks.step.result import where
from benchmarks.step.setting import Setting

STEPS, ROWS = 3, 40


def profile_last_stage(plan: Plan, setting: Setting) -> str:
    """The operators of a few steps of the plan's subject, those first that take most time by themselves."""
    step = plan.runs[plan.subject].build()
    for _ in range(2):
        step()
    on_gpu = setting.device.type == 'cuda'
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, record_shapes=True) as profiler:
        for _ in range(STEPS):
            step()
    key = 'self_cuda_time_total' if on_gpu else 'self_cpu_time_total'
    tables = [profiler.key_averages(group_by_input_shape=shapes).table(sort_by=key, row_limit=ROWS)
              for shapes in (False, True)]
    head = f'{STEPS} steps of {plan.subject}: {setting.words}. On {where(setting)}.'
    return '\n\n'.join([head, *tables]) + '\n'
