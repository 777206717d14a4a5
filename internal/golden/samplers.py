"""Makes diffusion/testdata/samplers.safetensors: what diffusers' schedulers make of a network in closed form.

    pip install torch==2.15.0 diffusers==0.42.1 safetensors numpy
    python internal/golden/samplers.py diffusion/testdata/samplers.safetensors

A case NAME is a sampler, a scheduler_config.json and a number of steps (the metadata's case.NAME, JSON). Its tensors are NAME.timesteps, as
the scheduler lists them, and NAME.trajectory [visits+1,B,C], the state before the first step and after each, computed in
float64. `noise` [draws,B,C] is every case's: row 0 times init_noise_sigma is the start, row i+1 the draw of step i. The network says

    y[b,c] = 0.8·x[b,c] - 0.3·x[b,(c+1) mod C] + 0.2·cos(c + 4·t/1000)

of a scaled input x at timestep t, whatever it is said to predict.
"""
import json, sys
import diffusers, torch
import diffusers.schedulers.scheduling_ddim as ddim, diffusers.schedulers.scheduling_ddpm as ddpm
import diffusers.schedulers.scheduling_euler_ancestral_discrete as ancestral
from safetensors.torch import save_file

B, C = 2, 3
CLASSES = {
    'ddpm': diffusers.DDPMScheduler, 'ddim': diffusers.DDIMScheduler, 'pndm': diffusers.PNDMScheduler, 'euler': diffusers.EulerDiscreteScheduler,
    'euler_a': diffusers.EulerAncestralDiscreteScheduler, 'dpmpp_2m': diffusers.DPMSolverMultistepScheduler, 'dpmpp_2m_karras': diffusers.DPMSolverMultistepScheduler,
}
SD = {'beta_start': 0.00085, 'beta_end': 0.012, 'beta_schedule': 'scaled_linear', 'num_train_timesteps': 1000}
noise = torch.randn(64, B, C, generator=torch.Generator().manual_seed(3))
tensors, meta = {'noise': noise}, {'torch': torch.__version__, 'diffusers': diffusers.__version__, 'seed': '3'}


def network(x, t):
    c = torch.arange(C, dtype=torch.float64)
    return 0.8 * x - 0.3 * x.roll(-1, -1) + 0.2 * torch.cos(c + 4 * float(t) / 1000)


def case(name, sampler, steps, config, eta=0.0):
    karras = {'use_karras_sigmas': True} if sampler == 'dpmpp_2m_karras' else {}
    s = CLASSES[sampler].from_config({**config, **karras})
    s.set_timesteps(steps)
    if hasattr(s, 'set_begin_index'):  # else a first timestep that occurs twice makes diffusers run past its last level
        s.set_begin_index(0)
    i = 0
    for module in (ddim, ddpm, ancestral):
        module.randn_tensor = lambda *_, **__: noise[i + 1].double()
    x = noise[0].double() * float(s.init_noise_sigma)
    states = [x]
    for i, t in enumerate(s.timesteps):
        x = s.step(network(s.scale_model_input(x, t), t).double(), t, x.double(), **({'eta': eta} if sampler == 'ddim' else {})).prev_sample.double()
        states.append(x)
    assert torch.isfinite(torch.stack(states)).all(), name
    meta[f'case.{name}'] = json.dumps({'sampler': sampler, 'steps': steps, 'eta': eta, 'config': config})
    tensors[f'{name}.timesteps'] = s.timesteps.to(torch.float32).clone()
    tensors[f'{name}.trajectory'] = torch.stack(states).to(torch.float32)


for sampler in CLASSES:
    for spacing in ('leading', 'linspace', 'trailing'):
        for steps in (3, 13, 20):
            case(f'{sampler}-{spacing}-{steps}', sampler, steps, {**SD, 'timestep_spacing': spacing, 'steps_offset': 1, 'clip_sample': False, 'skip_prk_steps': True})
    case(f'{sampler}-halves', sampler, 16, {**SD, 'timestep_spacing': 'trailing', 'skip_prk_steps': True})  # timesteps halfway between two
    case(f'{sampler}-defaults', sampler, 10, {})  # every key is the class's own
    case(f'{sampler}-legacy', sampler, 7, {**SD, 'set_alpha_to_one': False, 'skip_prk_steps': True, 'steps_offset': 1, 'trained_betas': None, 'clip_sample': False})
    case(f'{sampler}-v', sampler, 9, {**SD, 'prediction_type': 'v_prediction', 'steps_offset': 1})
    case(f'{sampler}-cosine', sampler, 6, {'beta_schedule': 'squaredcos_cap_v2', 'prediction_type': 'v_prediction'})
    case(f'{sampler}-trained', sampler, 5, {'trained_betas': [round(0.01 + 0.001 * i, 4) for i in range(60)], 'num_train_timesteps': 60, 'skip_prk_steps': True})
    case(f'{sampler}-zero-snr', sampler, 8, {**SD, 'prediction_type': 'v_prediction', 'rescale_betas_zero_snr': True, 'timestep_spacing': 'trailing', 'clip_sample': False})
    if sampler not in ('pndm', 'euler_a'):
        case(f'{sampler}-sample', sampler, 6, {**SD, 'prediction_type': 'sample', 'clip_sample': False})
for spacing in ('leading', 'linspace', 'trailing'):
    for steps in (13, 20):
        case(f'pndm-runge-kutta-{spacing}-{steps}', 'pndm', steps, {**SD, 'timestep_spacing': spacing, 'steps_offset': 1})
    case(f'ddim-{spacing}-eta', 'ddim', 12, {**SD, 'timestep_spacing': spacing, 'clip_sample': True, 'clip_sample_range': 0.7}, 0.6)
    case(f'ddim-{spacing}-48', 'ddim', 48, {**SD, 'timestep_spacing': spacing, 'clip_sample': False, 'set_alpha_to_one': False})  # timesteps halfway between two
    for karras in (False, True):
        case(f'euler-{spacing}-log{"-karras" if karras else ""}', 'euler', 11, {**SD, 'timestep_spacing': spacing, 'interpolation_type': 'log_linear', 'use_karras_sigmas': karras})
    case(f'euler-{spacing}-karras', 'euler', 11, {**SD, 'timestep_spacing': spacing, 'use_karras_sigmas': True, 'final_sigmas_type': 'sigma_min'})
    case(f'dpmpp_2m-{spacing}-lambda', 'dpmpp_2m', 9, {'beta_schedule': 'squaredcos_cap_v2', 'lambda_min_clipped': -5.1, 'timestep_spacing': spacing})
case('pndm-runge-kutta-one', 'pndm', 8, {**SD, 'set_alpha_to_one': True})
for sampler, eta in (('ddpm', 0.0), ('ddim', 1.0)):  # hardly any noise from step to step: what float32 loses of it is seen
    case(f'{sampler}-fine', sampler, 40, {'beta_start': 1e-5, 'beta_end': 2e-5, 'num_train_timesteps': 40, 'prediction_type': 'sample'}, eta)
    case(f'{sampler}-zero-snr-clipped', sampler, 8, {**SD, 'rescale_betas_zero_snr': True, 'timestep_spacing': 'trailing', 'clip_sample': True}, eta)
case('ddpm-small-log', 'ddpm', 10, {**SD, 'variance_type': 'fixed_small_log'})
for sampler in ('ddim', 'ddpm', 'dpmpp_2m'):  # None is false, whatever the default is
    case(f'{sampler}-null', sampler, 7, {**SD, 'clip_sample': None, 'set_alpha_to_one': None, 'lower_order_final': None, 'final_sigmas_type': 'sigma_min', 'variance_type': None})
for order in (1, 2):
    for more in ({}, {'final_sigmas_type': 'sigma_min', 'lower_order_final': False}):
        case(f'dpmpp_2m-heun-{order}{"-final" if more else ""}', 'dpmpp_2m', 9, {**SD, **more, 'solver_type': 'heun', 'solver_order': order})
case('ddpm-large', 'ddpm', 10, {**SD, 'variance_type': 'fixed_large', 'clip_sample_range': 0.5})
case('ddim-zero-snr-eta', 'ddim', 10, {**SD, 'prediction_type': 'v_prediction', 'rescale_betas_zero_snr': True, 'timestep_spacing': 'trailing'}, 0.6)
case('euler-range', 'euler', 9, {**SD, 'use_karras_sigmas': True, 'sigma_min': 0.05, 'sigma_max': 10.0})
case('euler-zero-snr-epsilon', 'euler', 9, {**SD, 'rescale_betas_zero_snr': True})
for name, more in {'order-1': {'solver_order': 1}, 'final-sigma': {'final_sigmas_type': 'sigma_min'}, 'not-lower': {'lower_order_final': False},
                   'final-sigma-not-lower': {'final_sigmas_type': 'sigma_min', 'lower_order_final': False},
                   'final-euler': {'final_sigmas_type': 'sigma_min', 'lower_order_final': False, 'euler_at_final': True}}.items():
    for steps in (8, 12, 16):
        case(f'dpmpp_2m-{name}-{steps}', 'dpmpp_2m', steps, {**SD, **more})
case('dpmpp_2m_karras-v-final', 'dpmpp_2m_karras', 12, {**SD, 'prediction_type': 'v_prediction', 'final_sigmas_type': 'sigma_min'})
save_file(tensors, sys.argv[1], metadata=meta)
print(len(meta) - 3, 'cases')
