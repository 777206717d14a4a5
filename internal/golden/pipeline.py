"""Makes testdata/golden: small pipelines as diffusers saves them, each with what diffusers and transformers compute on it.

usage: pipeline.py bpe_simple_vocab_16e6.txt.gz internal/golden/sd1.json testdata/golden/sd1
       pipeline.py bpe_simple_vocab_16e6.txt.gz internal/golden/wide/unet-sd1.json FOLDER
       (PyPI: torch 2.15.0, diffusers 0.42.1, transformers 5.23.0, pillow, numpy)

A spec names any of unet, vae, text and clip; the first three together are a pipeline. A UNet of text_time needs "sizes", six a sample. With "own" it also prints how far PyTorch's float32 is off.

References are computed in float64 from the weights as stored, then rounded to float32. Everything is random and seeded;
norm scales and biases are perturbed so that no term is trivially one or zero. The merges are the first of openai/CLIP's.
"""
import gzip, json, math, os, shutil, sys
import numpy as np, torch
from safetensors.torch import save_file
import diffusers, transformers
from diffusers import UNet2DConditionModel, AutoencoderKL, StableDiffusionPipeline, StableDiffusionInpaintPipeline, DDPMScheduler, DDIMScheduler, PNDMScheduler
from transformers import CLIPTextModel, CLIPTextConfig, CLIPTokenizer, CLIPModel, CLIPConfig

SAMPLERS = {'ddpm': DDPMScheduler, 'ddim': DDIMScheduler}

def perturb(model, gen, scale=1.0):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() <= 1 and 'position' not in name and p.numel() > 1:
                p.add_(torch.randn(p.shape, generator=gen) * 0.15)
            elif scale != 1.0:
                p.mul_(scale)
            if '.to_q.' in name or '.to_k.' in name or '.q_proj.' in name or '.k_proj.' in name:
                p.mul_(2.0)  # attention that chooses

def vocab(path, merges_wanted, out):
    lines = gzip.open(path, 'rt', encoding='utf-8').read().split('\n')[1:49152 - 256 - 2 + 1]
    merges = lines[:merges_wanted] if merges_wanted else lines
    bs = list(range(ord('!'), ord('~') + 1)) + list(range(ord('¡'), ord('¬') + 1)) + list(range(ord('®'), ord('ÿ') + 1))
    cs, n = bs[:], 0
    for b in range(256):
        if b not in bs:
            bs.append(b); cs.append(256 + n); n += 1
    chars = [chr(c) for c in cs]
    words = chars + [c + '</w>' for c in chars] + [''.join(m.split()) for m in merges] + ['<|startoftext|>', '<|endoftext|>']
    os.makedirs(out, exist_ok=True)
    json.dump({w: i for i, w in enumerate(words)}, open(f'{out}/vocab.json', 'w', encoding='utf-8'), ensure_ascii=False)
    open(f'{out}/merges.txt', 'w', encoding='utf-8').write('#version: 0.2\n' + '\n'.join(merges) + '\n')
    return len(words)

def load(path):
    from safetensors.torch import load_file
    return load_file(path)

def edit(path, drop=(), **put):
    c = json.load(open(path)); [c.pop(k, None) for k in drop]; c.update(put); json.dump(c, open(path, 'w'), indent=2)

def legacy(out):
    """Rewrites the folder the way the SD 1.x repositories on the hub still are: names, configs and tokenizer files of diffusers 0.6 and transformers 4."""
    f = f'{out}/vae/diffusion_pytorch_model.safetensors'
    old = {'to_q': 'query', 'to_k': 'key', 'to_v': 'value', 'to_out.0': 'proj_attn'}
    def rename(k):
        for n, o in old.items(): k = k.replace(f'.attentions.0.{n}.', f'.attentions.0.{o}.')
        return k
    save_file({rename(k): v for k, v in load(f).items()}, f, metadata={'format': 'pt'})
    f = f'{out}/text_encoder/model.safetensors'; w = {'text_model.' + k.removeprefix('text_model.'): v for k, v in load(f).items()}
    w['text_model.embeddings.position_ids'] = torch.arange(77).unsqueeze(0); save_file(w, f, metadata={'format': 'pt'})
    edit(f'{out}/text_encoder/config.json', ['dtype'], architectures=['CLIPTextModel'], bos_token_id=0, eos_token_id=2, pad_token_id=1, torch_dtype='float32', transformers_version='4.22.0.dev0', dropout=0.0)
    u = json.load(open(f'{out}/unet/config.json')); keep = ('act_fn attention_head_dim block_out_channels center_input_sample cross_attention_dim down_block_types downsample_padding flip_sin_to_cos freq_shift '
        'in_channels layers_per_block mid_block_scale_factor norm_eps norm_num_groups out_channels sample_size up_block_types').split()
    json.dump({'_class_name': 'UNet2DConditionModel', '_diffusers_version': '0.6.0', **{k: u[k] for k in keep}}, open(f'{out}/unet/config.json', 'w'), indent=2)
    v = json.load(open(f'{out}/vae/config.json')); keep = 'act_fn block_out_channels down_block_types in_channels latent_channels layers_per_block norm_num_groups out_channels sample_size up_block_types'.split()
    json.dump({'_class_name': 'AutoencoderKL', '_diffusers_version': '0.6.0', **{k: v[k] for k in keep}}, open(f'{out}/vae/config.json', 'w'), indent=2)
    os.remove(f'{out}/tokenizer/tokenizer.json'); tok = lambda c: {'__type': 'AddedToken', 'content': c, 'lstrip': False, 'normalized': True, 'rstrip': False, 'single_word': False}
    json.dump({'add_prefix_space': False, 'bos_token': tok('<|startoftext|>'), 'do_lower_case': True, 'eos_token': tok('<|endoftext|>'), 'errors': 'replace', 'model_max_length': 77,
               'pad_token': '<|endoftext|>', 'tokenizer_class': 'CLIPTokenizer', 'unk_token': tok('<|endoftext|>')}, open(f'{out}/tokenizer/tokenizer_config.json', 'w'), indent=2)

def ldm(out, spec, gen):
    """The same weights under the names of the original single-file checkpoints."""
    import glob
    part = lambda name: {k: v for f in sorted(glob.glob(f'{out}/{name}/*.safetensors')) for k, v in load(f).items()}
    w = part('unet')
    L = spec['unet']['layers_per_block']; n_levels = len(spec['unet']['block_out_channels']); r = {}
    res = {'norm1': 'in_layers.0', 'conv1': 'in_layers.2', 'time_emb_proj': 'emb_layers.1', 'norm2': 'out_layers.0', 'conv2': 'out_layers.3', 'conv_shortcut': 'skip_connection'}
    def put(prefix, rest): 
        p = rest.split('.'); p[0] = res.get(p[0], p[0]); return f'{prefix}.' + '.'.join(p)
    for k, v in w.items():
        p = k.split('.')
        if k.startswith('time_embedding.'): n = f"time_embed.{0 if p[1] == 'linear_1' else 2}.{p[2]}"
        elif k.startswith('conv_in.'): n = f'input_blocks.0.0.{p[1]}'
        elif k.startswith('conv_norm_out.'): n = f'out.0.{p[1]}'
        elif k.startswith('conv_out.'): n = f'out.2.{p[1]}'
        elif p[0] == 'mid_block': n = put(f"middle_block.{1 if p[1] == 'attentions' else 2 * int(p[2])}", '.'.join(p[3:]))
        elif p[0] == 'down_blocks':
            i, j = int(p[1]), int(p[3])
            n = f'input_blocks.{(i + 1) * (L + 1)}.0.op.{p[5]}' if p[2] == 'downsamplers' else put(f"input_blocks.{1 + i * (L + 1) + j}.{0 if p[2] == 'resnets' else 1}", '.'.join(p[4:]))
        elif p[0] == 'up_blocks':
            i, j = int(p[1]), int(p[3]); has = 'CrossAttn' in spec['unet']['up_block_types'][i]
            n = f'output_blocks.{i * (L + 1) + L}.{2 if has else 1}.conv.{p[5]}' if p[2] == 'upsamplers' else put(f"output_blocks.{i * (L + 1) + j}.{0 if p[2] == 'resnets' else 1}", '.'.join(p[4:]))
        else: raise KeyError(k)
        r['model.diffusion_model.' + n] = v
    n_levels = len(spec['vae']['block_out_channels'])
    for k, v in part('vae').items():
        p = k.split('.'); n = k.replace('conv_norm_out', 'norm_out')
        if len(p) > 2 and p[1] == 'mid_block':
            if p[2] == 'resnets': n = f'{p[0]}.mid.block_{int(p[3]) + 1}.' + '.'.join(p[4:])
            else:
                q = '.'.join(p[4:-1]); q = {'group_norm': 'norm', 'to_q': 'q', 'to_k': 'k', 'to_v': 'v', 'to_out.0': 'proj_out'}[q]; n = f'{p[0]}.mid.attn_1.{q}.{p[-1]}'
                if v.dim() == 2: v = v[:, :, None, None].contiguous()
        elif len(p) > 2 and p[1] in ('down_blocks', 'up_blocks'):
            i = int(p[2]) if p[1] == 'down_blocks' else n_levels - 1 - int(p[2]); d = p[1][:-7]
            n = f'{p[0]}.{d}.{i}.{d}sample.conv.{p[-1]}' if 'samplers' in p[3] else f'{p[0]}.{d}.{i}.block.{p[4]}.' + '.'.join(p[5:])
        r['first_stage_model.' + n.replace('conv_shortcut', 'nin_shortcut')] = v
    t = {k.removeprefix('text_model.'): v for k, v in part('text_encoder').items()}
    if spec['single'] == 'sd1': r.update({'cond_stage_model.transformer.text_model.' + k: v for k, v in t.items()})
    else:  # OpenCLIP's packed names, with the last block that SD 2 leaves out
        P = 'cond_stage_model.model.'; ln = {'layer_norm1': 'ln_1', 'layer_norm2': 'ln_2', 'mlp.fc1': 'mlp.c_fc', 'mlp.fc2': 'mlp.c_proj', 'self_attn.out_proj': 'attn.out_proj'}
        r[P + 'positional_embedding'], r[P + 'token_embedding.weight'] = t['embeddings.position_embedding.weight'], t['embeddings.token_embedding.weight']
        N = spec['text']['num_hidden_layers']; D = spec['text']['hidden_size']
        for x in ('weight', 'bias'):
            r[P + f'ln_final.{x}'] = t[f'final_layer_norm.{x}']
            for i in range(N):
                for a, b in ln.items(): r[P + f'transformer.resblocks.{i}.{b}.{x}'] = t[f'encoder.layers.{i}.{a}.{x}']
                r[P + f'transformer.resblocks.{i}.attn.in_proj_{x}'] = torch.cat([t[f'encoder.layers.{i}.self_attn.{q}_proj.{x}'] for q in 'qkv'])
        for k in [k for k in r if f'resblocks.{N-1}.' in k]: r[k.replace(f'resblocks.{N-1}.', f'resblocks.{N}.')] = torch.randn(r[k].shape, generator=gen).to(r[k].dtype)
        r[P + 'text_projection'] = torch.randn(D, D, generator=gen).to(t['final_layer_norm.bias'].dtype); r[P + 'logit_scale'] = torch.tensor(4.6)
    r['alphas_cumprod'] = torch.linspace(0.999, 0.005, 1000); r['model_ema.decay'] = torch.tensor(0.9999)
    return {k: v.contiguous().clone() for k, v in r.items()}

def f64(m): return m.double().eval()

def off(t, found, floor=0.0):
    """The relative errors of what was found of the tensors t."""
    return sorted((((x.detach().double() - t[n].double()).norm() / (t[n].double().norm() + floor)).item(), n) for n, x in found.items())

def own(t, model, run):
    """Prints how far PyTorch's float32 is off from the references t. run returns what a model computes by name."""
    if model is None: return
    model.float(); found = run(torch.float32); model.double()
    grads = {n: x for n, x in found.items() if '.grad' in n}
    for e, n in off(t, {n: x for n, x in found.items() if n not in grads}): print(f'PyTorch float32: {n} is off by {e:.2g}')
    if grads:
        e = off(t, grads, 1e-4 * max(t[n].double().norm().item() for n in grads)); print(f'PyTorch float32: of {len(e)} gradients the median is off by {e[len(e) // 2][0]:.2g}, the worst, {e[-1][1]}, by {e[-1][0]:.2g}')

def batch(unet, tr, gen, step, keep):
    """The random latents, noise, conditions, rewards and timesteps of a training step."""
    B, C, (H, W), L, D = tr['model'] + tr['pretrain'], unet.config.in_channels, tr['latent'], tr['tokens'], unet.config.cross_attention_dim
    x, n, c, r = torch.randn(B, C, H, W, generator=gen), torch.randn(B, C, H, W, generator=gen), torch.randn(B, L, D, generator=gen), torch.rand(tr['model'], generator=gen)
    t = torch.randint(0, 1000, (B,), generator=gen)
    for k, v in (('latents', x), ('noise', n), ('encoder_hidden_states', c), ('rewards', r), ('timesteps', t)): keep(f'{k}.{step}', v)
    return x, n, c, r, t

def eq2(unet, sched, tr, x, n, c, r, t):
    """Eq. 2 of the paper in the dtype of unet: mean over the model's samples of r·‖target − prediction‖² plus β times that mean over the pretraining
    samples (a sample's ‖·‖² is the mean over its elements)."""
    dt = next(unet.parameters()).dtype; a = sched.alphas_cumprod.double()[t].to(dt)[:, None, None, None]; x, n = x.to(dt), n.to(dt)
    target = n if sched.config.prediction_type == 'epsilon' else a.sqrt() * n - (1 - a).sqrt() * x
    l = (unet(a.sqrt() * x + (1 - a).sqrt() * n, t, c.to(dt)).sample - target).square().mean((1, 2, 3))
    return (r.to(dt) * l[:tr['model']]).mean() + tr['beta'] * l[tr['model']:].mean()

def train(unet, sched, tr, gen, keep):
    """A few AdamW steps, gradients clipped by their global norm, if at all. Yields loss, gradient norm."""
    params = list(unet.parameters()); opt = torch.optim.AdamW(params, lr=tr['lr'], betas=tr['betas'], eps=tr['eps'], weight_decay=tr['weight_decay'])
    for s in range(tr['steps']):
        loss = eq2(unet, sched, tr, *batch(unet, tr, gen, s, keep)); opt.zero_grad(); loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(params, tr['clip'] or math.inf); opt.step(); yield loss.detach(), norm.detach()

def main(merges, spec_file, out):
    spec = json.load(open(spec_file)); gen = torch.Generator().manual_seed(spec.get('seed', 0)); torch.manual_seed(spec.get('seed', 0))
    shutil.rmtree(out, ignore_errors=True); os.makedirs(out)
    store = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}[spec.get('dtype', 'float32')]
    t, meta = {}, {'diffusers': diffusers.__version__, 'transformers': transformers.__version__, 'torch': torch.__version__, 'seed': str(spec.get('seed', 0))}
    rnd = lambda *s: torch.randn(*s, generator=gen)
    keep = lambda name, x: t.__setitem__(name, (x.detach().to(torch.float32) if x.is_floating_point() else x.to(torch.int64)).contiguous().clone())
    prompts, pad = spec.get('prompts', []), spec.get('pad', 'eos')
    if prompts:
        n_vocab = vocab(merges, spec.get('merges', 300), f'{out}/tokenizer')
        special = dict(bos_token_id=n_vocab - 2, eos_token_id=n_vocab - 1, pad_token_id=n_vocab - 1 if pad == 'eos' else 0)
        tokenizer = CLIPTokenizer(f'{out}/tokenizer/vocab.json', f'{out}/tokenizer/merges.txt', pad_token='<|endoftext|>' if pad == 'eos' else '!', model_max_length=77)
        tokenizer.save_pretrained(f'{out}/tokenizer')

    def part(name, build, scale=1.0):
        if name not in spec: return None
        m = build(); perturb(m, gen, scale); return m.to(store)
    unet = part('unet', lambda: UNet2DConditionModel(**spec['unet']), spec.get('unet_scale', 1.0))
    vae = part('vae', lambda: AutoencoderKL(**spec['vae']))
    text = part('text', lambda: CLIPTextModel(CLIPTextConfig(vocab_size=n_vocab, **special, **spec['text'])), 3.0)
    whole = unet and vae and text; parts = [(p, m) for p, m in (('unet', unet), ('vae', vae), ('text_encoder', text)) if m is not None]
    if whole:
        sched = PNDMScheduler(**spec['scheduler']) if spec.get('scheduler_class', 'PNDM') == 'PNDM' else DDIMScheduler(**spec['scheduler'])
        cls = StableDiffusionPipeline if unet.config.in_channels == vae.config.latent_channels else StableDiffusionInpaintPipeline
        pipe = cls(vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=sched, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
        pipe.save_pretrained(out, safe_serialization=True)
    if not whole or 'shard' in spec:
        for name, model in parts:
            shutil.rmtree(f'{out}/{name}', ignore_errors=True); model.save_pretrained(f'{out}/{name}', max_shard_size=spec.get('shard', '50GB'))
    for _, m in parts: f64(m)
    if prompts: ids = tokenizer(prompts, padding='max_length', max_length=77, truncation=True, return_tensors='pt').input_ids
    if unet:
        B, (H, W), L, D = spec['batch'], spec['latent'], spec.get('tokens', 77), spec['unet']['cross_attention_dim']
        x = rnd(B, spec['unet']['in_channels'], H, W); ts = torch.tensor(spec['timesteps']); c = rnd(B, L, D)
        added = {}
        if unet.config.addition_embed_type == 'text_time':
            width = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
            added = {'text_embeds': rnd(B, width), 'time_ids': torch.tensor(spec['sizes'], dtype=torch.float32)}
            for k, v in added.items(): keep(f'unet.{k}', v)
        def call(x, c, pooled=None):
            kw = {'added_cond_kwargs': {'text_embeds': pooled, 'time_ids': added['time_ids']}} if added else {}
            return unet(x, ts, c, **kw).sample
        pooled = [added['text_embeds']] if added else []
        with torch.no_grad(): y = call(x.double(), c.double(), *(p.double() for p in pooled))
        cot = rnd(*y.shape) / y[0].numel() ** 0.5
        for k, v in (('sample', x), ('timestep', ts), ('encoder_hidden_states', c), ('out', y), ('cotangent', cot)): keep(f'unet.{k}', v)
        some = dict(list(unet.named_parameters())[::spec.get('every_grad', 1)]); unet.requires_grad_(False)
        for p in some.values(): p.requires_grad_()
        def passes(dt):
            inputs = [v.to(dt).requires_grad_() for v in (x, c, *pooled)]; o = call(*inputs)
            grads = torch.autograd.grad((o * cot.to(dt)).sum(), [*some.values(), *inputs])
            names = [*(f'unet.grad.{n}' for n in some), 'unet.grad_sample', 'unet.grad_encoder_hidden_states', 'unet.grad_text_embeds']
            return {'unet.out': o, **dict(zip(names, grads))}
        for n, v in passes(torch.float64).items():
            if n != 'unet.out': keep(n, v)
        if spec.get('own'): own(t, unet, passes)
        if 'train' in spec:
            tr = {'latent': spec['latent'], 'tokens': 11, 'betas': [0.9, 0.999], 'eps': 1e-8, **spec['train']}; u3 = UNet2DConditionModel.from_pretrained(f'{out}/unet').double().train()
            before = {n: p.detach().clone() for n, p in u3.named_parameters()}
            rows = list(train(u3, DDPMScheduler.from_pretrained(f'{out}/scheduler'), tr, gen, lambda n, x: keep(f'train.{n}', x)))
            keep('train.loss', torch.stack([r[0] for r in rows])); meta['train'] = json.dumps({k: v for k, v in tr.items() if k not in ('latent', 'tokens')})
            if tr['clip']: keep('train.grad_norm', torch.stack([r[1] for r in rows]))
            for n, p in list(u3.named_parameters())[::17]: keep(f'train.delta.{n}', p - before[n])
    if text:
        keep('text.input_ids', ids)
        @torch.no_grad()
        def encode(_): o = text(ids); return {'text.last_hidden_state': o.last_hidden_state, 'text.pooler_output': o.pooler_output}
        for n, v in encode(torch.float64).items(): keep(n, v)
        if spec.get('own'): own(t, text, encode)
    if vae:
        H, W = spec['latent']; down = 2 ** (len(spec['vae']['block_out_channels']) - 1)
        im = rnd(1, 3, H * down, W * down).clamp(-1, 1); z = rnd(1, spec['vae']['latent_channels'], H, W); keep('vae.sample', im); keep('vae.latent', z)
        @torch.no_grad()
        def both(dt): d = vae.encode(im.to(dt)).latent_dist; return {'vae.mean': d.mean, 'vae.logvar': d.logvar, 'vae.decoded': vae.decode(z.to(dt)).sample}
        for n, v in both(torch.float64).items(): keep(n, v)
        if spec.get('own'): own(t, vae, both)
    if whole:
        if spec.get('legacy'):  # before anything reads it: the samplers below are built from the file as it will stand
            edit(f'{out}/scheduler/scheduler_config.json', ['prediction_type', 'timestep_spacing'], _diffusers_version='0.6.0', clip_sample=False)
        conf = json.load(open(f'{out}/scheduler/scheduler_config.json')); cfg = {k: v for k, v in conf.items() if not k.startswith('_')}
        if unet.config.in_channels == vae.config.latent_channels:
            for name in spec.get('samplers', []):
                s = SAMPLERS[name].from_config(cfg); s.set_timesteps(spec['steps'])
                noise = rnd(len(s.timesteps) + 1, B, spec['unet']['in_channels'], H, W); k = [0]
                import diffusers.schedulers.scheduling_ddim as a, diffusers.schedulers.scheduling_ddpm as b
                def draw(shape, *_, **__):
                    k[0] += 1; return noise[k[0]].double()
                for mod in (a, b): mod.randn_tensor = draw
                z = (noise[0].double() * float(s.init_noise_sigma)); traj = [z]; eta = float(spec.get('eta', 0.0))
                for i, tt in enumerate(s.timesteps):
                    k[0] = i  # the draw of step i is noise[i+1], used or not
                    with torch.no_grad():
                        e_ = unet(s.scale_model_input(z, tt), tt, c.double()).sample
                        z = s.step(e_, tt, z, **({'eta': eta} if name == 'ddim' else {})).prev_sample.double()
                    traj.append(z)
                keep(f'sampler.{name}.noise', noise); t[f'sampler.{name}.timesteps'] = s.timesteps.to(torch.float32).clone(); keep(f'sampler.{name}.trajectory', torch.stack(traj))
            if 'steps' in spec: meta.update({'sampler.steps': str(spec['steps']), 'sampler.ddim.eta': str(spec.get('eta', 0.0))})
    if 'clip' in spec:
        cc = json.loads(json.dumps(spec['clip'])); cc['text_config'].update(vocab_size=n_vocab, **special)
        m = CLIPModel(CLIPConfig(**cc)); perturb(m, gen, 2.5); m = m.to(store); m.save_pretrained(f'{out}/clip'); 
        tokenizer.save_pretrained(f'{out}/clip'); m = f64(m)
        from transformers import CLIPImageProcessor
        try: from transformers import CLIPImageProcessorPil as CLIPImageProcessor
        except ImportError: pass
        n = cc['vision_config']['image_size']; proc = CLIPImageProcessor(size={'shortest_edge': n}, crop_size={'height': n, 'width': n}); proc.save_pretrained(f'{out}/clip')
        from PIL import Image
        g = np.random.default_rng(spec.get('seed', 0)); h, w = spec['image']; yy, xx = np.mgrid[0:h, 0:w]
        im = np.stack([127 + 100 * np.sin(xx / 7 + i) * np.cos(yy / 5 - i) for i in range(3)], -1) + g.normal(0, 12, (h, w, 3))
        im = im.clip(0, 255).round().astype(np.uint8); t['image.rgb'] = torch.from_numpy(im)
        px = torch.tensor(np.asarray(proc(images=[Image.fromarray(im)], return_tensors='np')['pixel_values'])).float(); keep('image.pixel_values', px); meta['image.processor'] = type(proc).__name__
        pv = torch.cat([px, rnd(2, *px.shape[1:])]); keep('clip.pixel_values', pv); keep('clip.input_ids', ids)
        @torch.no_grad()
        def embed(dt): o = m(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pv.to(dt)); return {f'clip.{n}': getattr(o, n) for n in ('image_embeds', 'text_embeds', 'logits_per_image')}
        for n, v in embed(torch.float64).items(): keep(n, v)
        if spec.get('own'): own(t, m, embed)
    for i, p in enumerate(prompts + spec.get('hard_prompts', [])):
        meta[f'tokenizer.text.{i}'] = p; t[f'tokenizer.ids.{i}'] = torch.tensor(tokenizer(p, padding='max_length', max_length=77, truncation=True).input_ids)
    if spec.get('single'): save_file(ldm(out, spec, gen), f'{out}/single.safetensors')
    if spec.get('legacy'): legacy(out)
    if spec.get('variant'):
        for sub in ('unet/diffusion_pytorch_model', 'vae/diffusion_pytorch_model', 'text_encoder/model'): os.rename(f'{out}/{sub}.safetensors', f'{out}/{sub}.{spec["variant"]}.safetensors')
    save_file(t, f'{out}/cases.safetensors', metadata=meta)
    size = sum(os.path.getsize(os.path.join(r, f)) for r, _, fs in os.walk(out) for f in fs)
    print(out, f'{size/2**20:.1f} MiB', len(t), 'tensors'); return t

if __name__ == '__main__': main(*sys.argv[1:])
