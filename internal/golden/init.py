"""Writes FOLDER/init.json: what diffusers and transformers fill fresh networks with.

usage: init.py testdata/golden/sd1
       init.py FOLDER (PyPI: torch 2.15.0, diffusers 0.42.1, transformers 5.24.0)

Networks of the folder's configs are made 16 times, with seeds 0 to 15. Tensors of one kind, whose names
differ in the numbers of blocks alone and that have as many elements, are counted together: how many
values there are, their mean, variance and kurtosis (3 of a normal distribution, 1.8 of an even one).
"""
import collections, json, re, sys
import torch, diffusers, transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

SEEDS = 16

def moments(make):
    values = collections.defaultdict(list)
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        for name, p in make().named_parameters():
            if make.__name__ == 'text_encoder': name = name.removeprefix('text_model.')
            values[f'{re.sub("(?<=[.])[0-9]+(?=[.])", "*", name)} {p.numel()}'].append(p.detach().double().flatten())
    out = {}
    for kind, v in sorted(values.items()):
        v = torch.cat(v)
        mean, same = v.mean(), v.min() == v.max()
        variance = torch.zeros(()) if same else (v - mean).pow(2).mean()
        kurtosis = 0 if same else (v - mean).pow(4).mean() / variance**2
        out[kind] = [len(v)] + [float(f'{x:.8g}') for x in (mean, variance, kurtosis)]
    return out

def main(folder):
    def unet(): return UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(f'{folder}/unet'))
    def vae(): return AutoencoderKL.from_config(AutoencoderKL.load_config(f'{folder}/vae'))
    def text_encoder(): return CLIPTextModel(CLIPTextConfig.from_pretrained(f'{folder}/text_encoder'))
    def clip(): return CLIPModel(CLIPConfig.from_pretrained(f'{folder}/clip'))
    out = {'made by': f'internal/golden/init.py, torch {torch.__version__}, diffusers {diffusers.__version__}, '
           f'transformers {transformers.__version__}, seeds 0 to {SEEDS - 1}'}
    for make in unet, vae, text_encoder, clip: out[make.__name__] = moments(make)
    with open(f'{folder}/init.json', 'w') as f: f.write(re.sub(r'\n\s+([-\d.]|\])', r' \1', json.dumps(out, indent=1)) + '\n')
    print({k: len(v) for k, v in out.items() if k != 'made by'})

if __name__ == '__main__': main(*sys.argv[1:])
