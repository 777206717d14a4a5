"""Adds to a pipeline's folder what StableDiffusionPipeline makes of prompts with the folder's own sampler.

usage: generate.py testdata/golden/sd1 4 float64 5 7.5 "two green dogs" "a red car"
       generate.py FOLDER SEED DTYPE STEPS GUIDANCE PROMPT...
       (PyPI: torch 2.15.0, diffusers 0.42.1, transformers 5.24.0, pillow, numpy)

The pictures of all prompts begin with the same noise, so that they differ by their prompts alone. Beside the tensors it leaves the pictures as
FOLDER/generate.N.png where there are no other references: in folders that are too large to keep.
"""
import json, os, resource, sys, time
import numpy as np, torch, diffusers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from diffusers import StableDiffusionPipeline

def read(cases):
    """The tensors and metadata of a file that need not be there."""
    if not os.path.exists(cases): return {}, {}
    with safe_open(cases, 'pt') as f: meta = f.metadata()
    return load_file(cases), meta

def main(folder, seed, dtype, steps, guidance, *prompts):
    cases = f'{folder}/cases.safetensors'; t, meta = read(cases); alone = not t
    t = {k: v for k, v in t.items() if not k.startswith('generate.')}
    p = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype), safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    p.set_progress_bar_config(disable=True); p.vae.enable_slicing()
    side = json.load(open(f'{folder}/unet/config.json'))['sample_size']  # diffusers takes small ones of old folders for a mistake
    size, prompts, latents, times = side * p.vae_scale_factor, list(prompts), [], [time.time()]
    noise = torch.randn(1, p.unet.config.in_channels, side, side, generator=torch.Generator().manual_seed(int(seed))).repeat(len(prompts), 1, 1, 1)
    def seen(pipe, i, at, kw): latents.append(kw['latents']); times.append(time.time()); return kw
    pictures = p(prompts, height=size, width=size, latents=noise.to(getattr(torch, dtype)), num_inference_steps=int(steps), guidance_scale=float(guidance), callback_on_step_end=seen).images
    rgb = np.stack([np.asarray(x) for x in pictures])
    t['generate.noise'], t['generate.latents'], t['generate.images'] = noise[None].clone(), latents[-1].float().contiguous(), torch.from_numpy(rgb)
    meta['generate'] = json.dumps({'prompts': prompts, 'steps': int(steps), 'guidance': float(guidance), 'dtype': dtype, 'seed': int(seed), 'torch': torch.__version__, 'diffusers': diffusers.__version__})
    save_file(t, cases, metadata=meta)
    if alone:
        for i, x in enumerate(pictures): x.save(f'{folder}/generate.{i}.png')
    gaps = sorted(b - a for a, b in zip(times[1:], times[2:]))
    moved = np.abs(rgb[0].astype(float) - rgb[-1]).mean(); peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f'{folder}: {type(p.scheduler).__name__}, {rgb.shape}; the last prompt moves the picture by {moved:.2f} of 255 in the mean; a step takes {gaps[len(gaps) // 2]:.2f} s; peak memory {peak:.2f} GiB')

if __name__ == '__main__': main(*sys.argv[1:])
