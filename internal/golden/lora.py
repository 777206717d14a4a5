"""Adds LoRA to a case of testdata/golden: the files that diffusers loads, and what it computes with them.

usage: lora.py testdata/golden/sd1 1
       lora.py testdata/golden/sd2 2
       (PyPI: torch 2.15.0, diffusers 0.42.1, transformers 5.24.0, peft 0.21.2)

Case 1 adapts the attention with alpha equal to the rank, as files without metadata mean it; case 2 adapts convolutions and the feed-forward
layers too, with metadata that give layers their own rank and alpha. Both adapt the text encoder. The start of training is lora_A of the file
and lora_B zero; its batches are the case's own. References are computed in float64.
"""
import json, os, sys
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from diffusers import StableDiffusionPipeline, DDPMScheduler
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
import transformers.integrations.peft

transformers.integrations.peft.check_peft_version = lambda **_: None  # asks for 0.22, which is not on PyPI

ATTENTION = ['to_q', 'to_k', 'to_v', 'to_out.0']
TEXT = ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'fc1', 'fc2']

def pipeline(case):
    return StableDiffusionPipeline.from_pretrained(case, safety_checker=None, feature_extractor=None, requires_safety_checker=False)

def adapt(model, config, gen):
    model.add_adapter(config)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if 'lora_' in n: p.copy_(torch.randn(p.shape, generator=gen) * (0.2 if 'lora_A' in n else 0.1))
    return get_peft_model_state_dict(model)

def stem(key):
    """A key of a diffusers file as (network, layer, 'down' or 'up')."""
    network, rest = key.split('.', 1)
    layer, which = rest.split('.lora_')
    return network, layer.removeprefix('text_model.'), {'A.weight': 'down', 'B.weight': 'up'}[which]

def kohya(sd):
    out = {}
    for i, (k, v) in enumerate(sorted(sd.items())):
        network, layer, which = stem(k)
        name = ('lora_unet_' if network == 'unet' else 'lora_te_text_model_') + layer.replace('.', '_')
        out[f'{name}.lora_{which}.weight'] = v
        if which == 'down': out[f'{name}.alpha'] = torch.tensor(0.5 + i % 3)
    return out

def folded(sd):
    """The same adapter for diffusers: alpha over rank is in lora_B. (Loading kohya's file, diffusers 0.42.1 gives attention the most frequent
    alpha of all, as its names of the others match no layer, and says so in a warning.)"""
    out = dict(sd)
    for i, k in enumerate(sorted(sd)):
        if 'lora_A' in k: b = k.replace('lora_A', 'lora_B'); out[b] = sd[b].double() * (0.5 + i % 3) / sd[k].shape[0]
    return out

def old(sd):
    """The spellings of diffusers 0.12 (UNet) and 0.17 (text encoder), which are of attention alone."""
    out = {}
    for k, v in sd.items():
        network, layer, which = stem(k)
        at, _, part = layer.removesuffix('.0').rpartition('.')
        if network == 'unet' and layer.endswith(tuple(ATTENTION)): out[f'unet.{at}.processor.{part}_lora.{which}.weight'] = v
        if network != 'unet' and 'self_attn' in layer: out[f'text_encoder.text_model.{at}.to_{part.split("_")[0]}_lora.{which}.weight'] = v
    return out

def main(case, seed):
    gen = torch.Generator().manual_seed(seed)
    with safe_open(f'{case}/cases.safetensors', 'pt') as f: meta = f.metadata()
    t = {k: v for k, v in load_file(f'{case}/cases.safetensors').items() if not k.startswith('lora.')}
    keep = lambda name, x: t.__setitem__(name, x.detach().to(torch.float32).contiguous().clone())
    os.makedirs(f'{case}/lora', exist_ok=True)
    p = pipeline(case)
    if seed == 1:
        configs = [LoraConfig(r=2, lora_alpha=2, target_modules=ATTENTION), LoraConfig(r=2, lora_alpha=2, target_modules=TEXT)]
    else:
        configs = [LoraConfig(r=2, lora_alpha=3, target_modules=ATTENTION + ['conv1', 'conv', 'proj_in', 'ff.net.0.proj'],
                              rank_pattern={'to_q': 3, '^mid_block.resnets.0.conv1': 1}, alpha_pattern={'attn1.to_k': 1, 'conv1': 5}),
                   LoraConfig(r=3, lora_alpha=1, target_modules=TEXT, use_rslora=True)]
    layers = [adapt(m, c, gen) for m, c in zip((p.unet, p.text_encoder), configs)]
    more = {} if seed == 1 else {'unet_lora_adapter_metadata': configs[0].to_dict(), 'text_encoder_lora_adapter_metadata': configs[1].to_dict()}
    StableDiffusionPipeline.save_lora_weights(f'{case}/lora', *layers, **more)
    sd = load_file(f'{case}/lora/pytorch_lora_weights.safetensors')
    save_file(kohya(sd), f'{case}/lora/kohya.safetensors', metadata={'ss_network_module': 'networks.lora'})
    save_file(old(sd), f'{case}/lora/old.safetensors', metadata={'format': 'pt'})

    x, ts, c, ids = t['unet.sample'].double(), t['unet.timestep'], t['unet.encoder_hidden_states'].double(), t['text.input_ids']
    for name, file in (('lora', f'{case}/lora'), ('lora.kohya', folded(sd)), ('lora.old', f'{case}/lora/old.safetensors')):
        p = pipeline(case)
        p.unet.double(), p.text_encoder.double()
        p.load_lora_weights(file, **({'weight_name': 'pytorch_lora_weights.safetensors'} if name == 'lora' else {}))
        u = p.unet.double()
        y = u(x, ts, c).sample
        keep('lora.unet.out' if name == 'lora' else f'{name}.out', y)
        keep(f'{name}.text.last_hidden_state', p.text_encoder.double()(ids).last_hidden_state)
        if name != 'lora': continue
        adapted = {n.replace('.default_0', ''): q for n, q in u.named_parameters() if 'lora_' in n}
        for q in u.parameters(): q.requires_grad_(False)
        for q in adapted.values(): q.requires_grad_(True)
        (u(x, ts, c).sample * t['unet.cotangent'].double()).sum().backward()
        for n, q in adapted.items(): keep(f'lora.grad.{n}', q.grad)
        train(u, adapted, DDPMScheduler.from_pretrained(f'{case}/scheduler'), json.loads(meta['train']), t, keep)
    save_file(t, f'{case}/cases.safetensors', metadata=meta)

def train(u, adapted, scheduler, k, t, keep):
    """pipeline.py's training, of the pairs alone."""
    for n, q in adapted.items():
        q.grad = None
        if 'lora_B' in n: q.data.zero_()
    before = {n: q.detach().clone() for n, q in adapted.items()}
    adam = torch.optim.AdamW(adapted.values(), lr=k['lr'], betas=k['betas'], eps=k['eps'], weight_decay=k['weight_decay'])
    bar, losses, norms = scheduler.alphas_cumprod.double(), [], []
    for s in range(k['steps']):
        x, n, c, r = (t[f'train.{w}.{s}'].double() for w in ('latents', 'noise', 'encoder_hidden_states', 'rewards'))
        at = t[f'train.timesteps.{s}']
        a = bar[at][:, None, None, None]
        target = n if scheduler.config.prediction_type == 'epsilon' else a.sqrt() * n - (1 - a).sqrt() * x
        l = (u(a.sqrt() * x + (1 - a).sqrt() * n, at, c).sample - target).square().mean((1, 2, 3))
        loss = (r * l[:k['model']]).mean() + k['beta'] * l[k['model']:].mean()
        adam.zero_grad(); loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(adapted.values(), k['clip'])); adam.step(); losses.append(loss.detach())
    keep('lora.train.loss', torch.stack(losses)); keep('lora.train.grad_norm', torch.stack(norms))
    for n, q in adapted.items(): keep(f'lora.train.delta.{n}', q - before[n])

if __name__ == '__main__': main(sys.argv[1], int(sys.argv[2]))
