"""Makes diffusion/testdata/flow.safetensors: what diffusers' FlowMatchEulerDiscreteScheduler makes of a network in closed form.

    pip install torch==2.15.0 diffusers==0.42.1 safetensors numpy
    python internal/golden/flow.py diffusion/testdata/flow.safetensors

The file is like that of samplers.py, with the same network. The scheduler rounds each state to float32 before its step. `levels` [T] are the
noise levels of training of shift 3, the noisiest first.
"""
import json, sys
import diffusers, torch
import diffusers.schedulers.scheduling_flow_match_euler_discrete as flow
from safetensors.torch import save_file

B, C = 2, 3
noise = torch.randn(16, B, C, generator=torch.Generator().manual_seed(5))
tensors, meta = {'noise': noise}, {'torch': torch.__version__, 'diffusers': diffusers.__version__, 'seed': '5'}


def network(x, t):
    c = torch.arange(C, dtype=torch.float64)
    return 0.8 * x - 0.3 * x.roll(-1, -1) + 0.2 * torch.cos(c + 4 * float(t) / 1000)


def case(name, steps, config):
    s = diffusers.FlowMatchEulerDiscreteScheduler.from_config(config)
    s.set_timesteps(steps)
    s.set_begin_index(0)
    i = 0
    flow.randn_tensor = lambda *_, **__: noise[i + 1].double()
    states = [noise[0].double()]
    for i, t in enumerate(s.timesteps):
        x = states[-1]
        states.append(s.step(network(x, t).double(), t, x).prev_sample.double())
    assert torch.isfinite(torch.stack(states)).all(), name
    config = {'_class_name': 'FlowMatchEulerDiscreteScheduler', **config}
    meta[f'case.{name}'] = json.dumps({'sampler': 'flow_euler', 'steps': steps, 'eta': 0.0, 'config': config})
    tensors[f'{name}.timesteps'] = s.timesteps.to(torch.float32).clone()
    tensors[f'{name}.trajectory'] = torch.stack(states).to(torch.float32)


for steps in (1, 2, 7, 15):
    case(f'flow-{steps}', steps, {})
    case(f'flow-shift-{steps}', steps, {'shift': 3.0})
case('flow-short', 5, {'num_train_timesteps': 50, 'shift': 0.7})
case('flow-terminal', 9, {'shift': 2.05, 'shift_terminal': 0.1, 'base_shift': 0.95, 'time_shift_type': 'exponential'})
case('flow-stochastic', 8, {'shift': 3.0, 'stochastic_sampling': True})
case('flow-nulls', 4, {'shift_terminal': None, 'invert_sigmas': False})
tensors['levels'] = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0).sigmas.to(torch.float32).clone()
save_file(tensors, sys.argv[1], metadata=meta)
print(len(meta) - 3, 'cases')
