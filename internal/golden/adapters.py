"""Makes random adapter files of every method and spelling for a case of testdata/golden, and the weights that LyCORIS, peft and diffusers make of them.

usage: adapters.py testdata/golden/sd1 testdata/golden/sd1/adapters 15 17 small
       adapters.py testdata/golden/sd2 FOLDER 300 1
       (PyPI: torch 2.15.0, diffusers 0.42.1, transformers 5.24.0, peft 0.21.2, lycoris-lora 4.1.3, einops, toml)

The folder gets N folders. In each is one file of an adapter (with adapter_config.json where peft made it) and want.safetensors: the float32 values, computed in
float64, of every weight that it changes, under the names of the UNet (unet.) and of the text encoder (text.). want's metadata say method, spelling and library.
LyCORIS's values are what its modules' forward computes: its LoHa scales twice when it merges. With "small" a file adapts one or two layers, otherwise up to six.
"""
import copy, json, math, os, random, sys
import torch
from safetensors.torch import load_file, save_file
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel
from peft import LoraConfig, LoHaConfig, LoKrConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from lycoris.modules import LoConModule, LohaModule, LokrModule, FullModule, NormModule
import transformers.integrations.peft

transformers.integrations.peft.check_peft_version = lambda **_: None
F64 = torch.float64

def sgm(name, config):
    """The original checkpoints' name of a UNet's module."""
    L = config.layers_per_block if isinstance(config.layers_per_block, int) else config.layers_per_block[0]
    res = {'norm1': 'in_layers.0', 'conv1': 'in_layers.2', 'time_emb_proj': 'emb_layers.1', 'norm2': 'out_layers.0', 'conv2': 'out_layers.3', 'conv_shortcut': 'skip_connection'}
    put = lambda prefix, p: '.'.join([prefix, res.get(p[0], p[0])] + p[1:])
    p = name.split('.')
    if p[0] == 'time_embedding': return f"time_embed.{0 if p[1] == 'linear_1' else 2}"
    if name in ('conv_in', 'conv_norm_out', 'conv_out'): return {'conv_in': 'input_blocks.0.0', 'conv_norm_out': 'out.0', 'conv_out': 'out.2'}[name]
    if p[0] == 'mid_block': return put(f"middle_block.{1 if p[1] == 'attentions' else 2 * int(p[2])}", p[3:])
    i, j = int(p[1]), int(p[3])
    if p[2] == 'downsamplers': return f'input_blocks.{(i + 1) * (L + 1)}.0.op'
    if p[2] == 'upsamplers': return f"output_blocks.{i * (L + 1) + L}.{2 if 'CrossAttn' in config.up_block_types[i] else 1}.conv"
    way, at = ('input_blocks', 1 + i * (L + 1) + j) if p[0] == 'down_blocks' else ('output_blocks', i * (L + 1) + j)
    return put(f"{way}.{at}.{0 if p[2] == 'resnets' else 1}", p[4:])

def stems(network, name, config):
    """Every spelling of a module's stem by what one calls it."""
    flat = name.replace('.', '_')
    if network == 'unet':
        old = sgm(name, config)
        return {'kohya': 'lora_unet_' + flat, 'diffusers': 'unet.' + name, 'bare': name, 'peft': 'base_model.model.' + name, 'lycoris': 'lycoris_' + flat,
                'compiled': 'unet._orig_mod.' + name, 'kohya original': 'lora_unet_' + old.replace('.', '_'), 'comfy': 'diffusion_model.' + old, 'lora_unet.': 'lora_unet.' + name}
    return {'kohya': 'lora_te_text_model_' + flat, 'kohya te1': 'lora_te1_text_model_' + flat, 'diffusers': 'text_encoder.text_model.' + name, 'transformers 5': 'text_encoder.' + name,
            'peft': 'base_model.model.text_model.' + name, 'te.': 'te.text_model.' + name, 'comfy': 'clip_l.transformer.text_model.' + name, 'compiled': 'text_encoder._orig_mod.text_model.' + name}

ENDINGS = [('.lora_A.weight', '.lora_B.weight'), ('.lora_down.weight', '.lora_up.weight'), ('.lora.down.weight', '.lora.up.weight'),
           ('.lora_linear_layer.down.weight', '.lora_linear_layer.up.weight'), ('.lora_A.default.weight', '.lora_B.default.weight')]

class Maker:
    def __init__(self, case, seed, small):
        self.r, self.gen, self.small = random.Random(seed), torch.Generator().manual_seed(seed), small
        self.case = case
        self.models = {'unet': UNet2DConditionModel.from_pretrained(f'{case}/unet').to(F64), 'text': CLIPTextModel.from_pretrained(f'{case}/text_encoder').to(F64)}
        self.named = {n: {k.removeprefix('text_model.'): m for k, m in model.named_modules()} for n, model in self.models.items()}
        self.layers = [(n, k) for n in self.named for k, m in self.named[n].items() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
        self.norms = [(n, k) for n in self.named for k, m in self.named[n].items() if isinstance(m, (torch.nn.LayerNorm, torch.nn.GroupNorm))]
    def rand(self, *shape, scale=0.3): return torch.randn(*shape, generator=self.gen, dtype=torch.float32) * scale
    def choose(self, pool): return self.r.sample(pool, self.r.randint(1, 2 if self.small else 6))
    def module(self, n, k): return self.named[n][k]

    def lycoris(self, method):
        """A file with LyCORIS's names of parts, and what its modules make of the layers."""
        sd, want, r = {}, {}, self.r
        dora = 'dora' in method
        pool = self.norms if method == 'norm' else self.layers
        if method == 'tucker' or 'inputs' in method: pool = [(n, k) for n, k in pool if getattr(self.module(n, k), 'kernel_size', (1, 1)) != (1, 1)]
        for n, k in self.choose(pool):
            m = self.module(n, k); rank = r.randint(1, 4); alpha = r.choice([None, 1.0, 2.5, float(rank), 0.0])
            kw = dict(lora_dim=rank, alpha=alpha, use_tucker=method == 'tucker' or r.random() < 0.5, weight_decompose=dora, wd_on_out='inputs' not in method if self.small else r.random() < 0.5)
            if 'lokr' in method: kw.update(decompose_both=r.random() < 0.5, factor=r.choice([-1, 2, 4]), full_matrix=r.random() < 0.2)
            cls = {'loha': LohaModule, 'lokr': LokrModule, 'full': FullModule, 'norm': NormModule}.get(method.split()[0], LoConModule)
            if cls in (FullModule, NormModule): kw = {}
            mod = cls('x', copy.deepcopy(m), 1.0, **kw)
            mod.eval()
            with torch.no_grad():
                for name, p in mod.named_parameters():
                    p.copy_((self.rand(*p.shape) + (p.abs().float() if 'dora_scale' in name else 0)))
                part = {a: b.detach().to(torch.float32).clone() for a, b in mod.custom_state_dict().items()} if cls not in (FullModule, NormModule) else {}
                if cls is FullModule: part = {'diff': mod.weight.detach().float().clone(), **({'diff_b': mod.bias.detach().float().clone()} if mod.bias is not None and r.random() < 0.7 else {})}
                if cls is NormModule: part = {'w_norm': mod.w_norm.detach().float().clone(), 'b_norm': mod.b_norm.detach().float().clone()}
                mod = mod.to(F64); w = m.weight.detach()
                if cls is FullModule or cls is NormModule:
                    new = w + part['diff' if cls is FullModule else 'w_norm'].to(F64)
                    b = part.get('diff_b', part.get('b_norm'))
                    if b is not None: want[f'{n}.{k}.bias'] = m.bias.detach() + b.to(F64)
                else:
                    base = mod.make_weight() * mod.scale if cls is LoConModule else mod.get_weight(mod.shape) * mod.scalar
                    new = w + base
                    if dora: new = mod.apply_weight_decompose(new, 1.0)
                    if isinstance(m, torch.nn.Linear) and not mod.bypass_mode:  # the whole forward, as a check of these lines
                        eye = torch.eye(m.in_features, dtype=F64); bias = 0 if m.bias is None else m.bias
                        assert torch.allclose((mod(eye) - bias).T, new, atol=1e-6), method
                want[f'{n}.{k}.weight'] = new
            if cls not in (FullModule, NormModule) and alpha is None and not self.keep_alpha: part.pop('alpha')
            sd[n, k] = part
        return sd, want

    def peft(self, method):
        """A PeftModel's own file and config, one network."""
        r = self.r; n = r.choice(['unet', 'text']); base = copy.deepcopy(self.models[n])
        names = [k for a, k in self.choose([l for l in self.layers if l[0] == n])]
        full = [k for k, m in base.named_modules() if any(k == x or k == 'text_model.' + x for x in names)]
        rank = r.randint(1, 4); alpha = r.choice([1, 2, 5, rank])
        ranks = {r.choice(full): r.randint(1, 4)} if r.random() < 0.5 else {}; alphas = {r.choice(full).split('.')[-1]: 3} if r.random() < 0.5 else {}
        kind = method.split()[1]
        if kind == 'lora': c = LoraConfig(r=rank, lora_alpha=alpha, target_modules=full, rank_pattern=ranks, alpha_pattern=alphas, use_rslora=r.random() < 0.3, use_dora=r.random() < 0.4)
        if kind == 'loha': c = LoHaConfig(r=rank, alpha=alpha, target_modules=full, rank_pattern=ranks, alpha_pattern=alphas, use_effective_conv2d=r.random() < 0.5)
        if kind == 'lokr': c = LoKrConfig(r=rank, alpha=alpha, target_modules=full, rank_pattern=ranks, alpha_pattern=alphas, use_effective_conv2d=r.random() < 0.5, decompose_both=r.random() < 0.5, decompose_factor=r.choice([-1, 2, 4]))
        model = get_peft_model(base, c)
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.requires_grad: p.copy_(self.rand(*p.shape) + (p.abs().float() if 'magnitude' in name else 0))
        sd = {k: v.detach().float().contiguous().clone() for k, v in get_peft_model_state_dict(model).items()}
        config = {k: v for k, v in c.to_dict().items()}
        for k, v in config.items():
            if isinstance(v, set): config[k] = sorted(v)
        with torch.no_grad(): merged = model.merge_and_unload()
        w = {k.removeprefix('text_model.'): m for k, m in merged.named_modules()}
        return sd, json.dumps(config, default=str), {f'{n}.{k}.weight': w[k].weight.detach() for k in names}

    def diffusers(self, dora):
        """What diffusers loads and fuses: kohya's spelling, where all alphas are equal, as diffusers 0.42 needs it, or its own of a DoRA. (It leaves dora_scale out.)"""
        r = self.r; p = StableDiffusionPipeline.from_pretrained(self.case, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
        p.unet.to(F64), p.text_encoder.to(F64)
        sd, rank = {}, r.randint(1, 4); alpha = r.choice([1.0, 2.0, float(rank)])
        chosen = self.choose([l for l in self.layers if l[1].endswith(('to_q', 'to_k', 'to_v', 'to_out.0', 'q_proj', 'k_proj', 'v_proj', 'out_proj')) and (l[0] == 'unet' or not dora)])
        for n, k in chosen:
            m = self.module(n, k); stem = stems(n, k, self.models['unet'].config)['diffusers' if dora else 'kohya']
            a, b = ('.lora_A.weight', '.lora_B.weight') if dora else ('.lora_down.weight', '.lora_up.weight')
            sd[stem + a], sd[stem + b] = self.rand(rank, m.in_features), self.rand(m.out_features, rank)
            if dora: sd[stem + '.lora_magnitude_vector'] = m.weight.detach().float().norm(dim=1) + self.rand(m.out_features).abs()
            else: sd[stem + '.alpha'] = torch.tensor(alpha)
        p.load_lora_weights(dict(sd)); p.unet.to(F64), p.text_encoder.to(F64)
        p.fuse_lora(); p.unload_lora_weights()
        w = {'unet': dict(p.unet.named_modules()), 'text': {k.removeprefix('text_model.'): m for k, m in p.text_encoder.named_modules()}}
        return sd, {f'{n}.{k}.weight': w[n][k].weight.detach() for n, k in chosen}

    def spell(self, sd):
        """The parts under one of the spellings, or under several mixed."""
        out, config, r = {}, self.models['unet'].config, self.r
        mixed = r.random() < 0.3
        style, ends = r.choice(['kohya', 'diffusers', 'peft', 'compiled', 'comfy', 'kohya original', 'bare']), r.choice(ENDINGS)
        for (n, k), part in sd.items():
            s = stems(n, k, config)
            key = r.choice(sorted(s)) if mixed or style not in s else style
            e = r.choice(ENDINGS) if mixed else ends
            if '.default.' in ends[0] or '.default.' in e[0]: e = ends if '.default.' in ends[0] else self.plain(e)
            suffix = '.default' if '.default.' in e[0] else ''
            for what, v in part.items():
                end = {'lora_down.weight': e[0], 'lora_up.weight': e[1], 'lora_mid.weight': f'.lora_mid{suffix}.weight'}.get(what, '.' + what + suffix)
                out[s[key] + end] = v.to(r.choice([torch.float32, torch.float32])).contiguous().clone()
        return out, 'mixed' if mixed else f'{style} {ends[0]}'
    def plain(self, e): return (e[0].replace('.default', ''), e[1].replace('.default', ''))

METHODS = ['lora', 'lora', 'lora', 'tucker', 'loha', 'loha', 'lokr', 'lokr', 'lora dora', 'loha dora', 'lokr dora', 'full', 'norm', 'peft lora', 'peft lora', 'peft loha', 'peft lokr', 'diffusers', 'diffusers dora']
SMALL = ['lora', 'tucker', 'loha', 'lokr', 'lora dora', 'loha dora', 'lokr dora', 'lora dora of inputs', 'full', 'norm', 'peft lora', 'peft loha', 'peft lokr', 'diffusers', 'diffusers dora']

def main(case, out, n, seed, small=''):
    mk = Maker(case, int(seed), bool(small))
    for i in range(int(n)):
        method = SMALL[i % len(SMALL)] if small else mk.r.choice(METHODS)
        d = f'{out}/{i:03d}'; os.makedirs(d, exist_ok=True)
        mk.keep_alpha = mk.r.random() < 0.7
        if method.startswith('peft'):
            sd, config, want = mk.peft(method); name, spelling = 'adapter_model.safetensors', 'peft'
            open(f'{d}/adapter_config.json', 'w').write(config)
        elif method.startswith('diffusers'):
            while True:
                try: sd, want = mk.diffusers('dora' in method); break
                except ValueError: pass  # diffusers knows a text encoder's kohya file by its to_out alone
            name, spelling = 'adapter.safetensors', ('diffusers' if 'dora' in method else 'kohya')
        else:
            parts, want = mk.lycoris(method); sd, spelling = mk.spell(parts); name = 'adapter.safetensors'
        save_file({k: v.contiguous() for k, v in sd.items()}, f'{d}/{name}', metadata={'format': 'pt'})
        save_file({k: v.detach().to(torch.float32).contiguous().clone() for k, v in want.items()}, f'{d}/want.safetensors', metadata={'method': method, 'spelling': spelling})

if __name__ == '__main__': main(*sys.argv[1:])
