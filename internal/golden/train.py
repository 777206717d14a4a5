"""Adds to a pipeline's folder three steps of full fine-tuning by Eq. 2 in float32, for models that are too large for pipeline.py's float64.

usage: train.py FOLDER SEED
       (PyPI: torch 2.15.0, diffusers 0.42.1)

One sample of the model's with a reward and one of the pretraining stream, latents of the model's own size, AdamW with PyTorch's defaults at 1e-5, no
clipping. Stable Diffusion 1's UNet takes about 15 GB. It also prints what the losses are without training, which the updates must have moved.
"""
import json, resource, sys, time
import torch
from safetensors.torch import save_file
from diffusers import DDPMScheduler, UNet2DConditionModel
from generate import read
from pipeline import batch, eq2, train

def main(folder, seed):
    cases = f'{folder}/cases.safetensors'; t, meta = read(cases); t = {k: v for k, v in t.items() if not k.startswith('train.')}
    u, s = UNet2DConditionModel.from_pretrained(f'{folder}/unet', torch_dtype=torch.float32).train(), DDPMScheduler.from_pretrained(f'{folder}/scheduler')
    u.enable_gradient_checkpointing()  # the same numbers in less memory
    side = u.config.sample_size; tr = dict(steps=3, model=1, pretrain=1, beta=0.5, lr=1e-5, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.01, clip=0)
    all = {**tr, 'latent': [side, side], 'tokens': 77}; keep = lambda n, x: t.__setitem__(f'train.{n}', x); losses, began = [], time.time()
    gen = torch.Generator().manual_seed(int(seed))
    with torch.no_grad(): still = [eq2(u, s, all, *batch(u, all, gen, i, keep)).item() for i in range(tr['steps'])]
    for l, _ in train(u, s, all, gen.manual_seed(int(seed)), keep):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20; losses.append(l)
        print(f'loss {l.item():.8g}, untrained {still[len(losses) - 1]:.8g}; {time.time() - began:.1f} s since the start, peak memory {peak:.2f} GiB', flush=True)
    t['train.loss'] = torch.stack(losses); meta['train'] = json.dumps(tr); meta['train.torch'] = torch.__version__
    save_file(t, cases, metadata=meta)

if __name__ == '__main__': main(*sys.argv[1:])
