"""Writes a file of random pictures over all formats and modes, and what Pillow makes of each, for picture's TestHunt.

usage: hunt_picture.py OUT.jsonl [N] [SEED] [MOST]     (PyPI: pillow 13.0.0, numpy)

N pictures (500), whose sides have MOST pixels (90) at most. internal/picture/testdata/hunt.jsonl is hunt_picture.py OUT 300 1 12.

A line is a picture: name, kind, data (base64), and either error, what Pillow says, or width, height and pixels (base64): 8-bit RGB, turned upright as
diffusers' load_image does it, on white as transformers' convert_to_rgb does it. Where picture's rule is another one, it is computed here.
"""
import base64, io, json, random, struct, sys, warnings, zlib
import numpy as np
from PIL import Image, ImageOps

warnings.simplefilter('ignore')


MOST = 90
side = lambda r: r.randrange(1, MOST + 1)
TURN = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}


def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def exif(r):
    """A TIFF with an orientation, in either byte order, and how PNG, JPEG and WebP would have it."""
    e = r.choice('<>'); kind = r.choice([3, 3, 4, 4, 8, 9, 1, 2, 5]); value = r.choice([1, 2, 3, 4, 5, 6, 7, 8, 8, 0, 9, 300])
    v = struct.pack(e + 'HH', value, 0) if kind in (3, 8) else struct.pack(e + 'I', value) if kind in (4, 9) else struct.pack('BBBB', value % 256, 0, 0, 0)
    others = [struct.pack(e + 'HHI', 0x0100, 3, 1) + struct.pack(e + 'HH', 7, 0)] * r.randrange(3)
    entries = others + [struct.pack(e + 'HHI', 0x0112, kind, r.choice([1, 1, 1, 1, 2])) + v]
    at = r.choice([8, 8, 8, 20])
    return (b'II*\0' if e == '<' else b'MM\0*') + struct.pack(e + 'I', at) + bytes(at - 8) + struct.pack(e + 'H', len(entries)) + b''.join(entries) + struct.pack(e + 'I', 0)


def xmp(r):
    v = r.choice([1, 2, 3, 4, 5, 6, 7, 8, 0, 9])
    return r.choice([f'<x tiff:Orientation="{v}"/>', f'<tiff:Orientation>{v}</tiff:Orientation>', '<x/>']).encode()


def pixels(r, g, w, h, n, bits=8):
    top = 2 ** bits
    kind = r.randrange(4)
    if kind == 0: a = g.integers(0, top, (h, w, n))
    elif kind == 1: a = np.broadcast_to(g.integers(0, top, (1, 1, n)), (h, w, n))
    else:
        yy, xx = np.mgrid[0:h, 0:w]
        a = np.stack([(np.sin(xx / r.uniform(2, 30) + i) * np.cos(yy / r.uniform(2, 30)) * .5 + .5) * (top - 1) for i in range(n)], -1)
    return np.ascontiguousarray(a).astype(np.uint8 if bits <= 8 else np.uint16)


def png(r, g):
    """A PNG made by hand: every colour type and depth, interlaced or not, with chunks that programs write."""
    w, h = side(r), side(r)
    colour = r.choice([0, 2, 3, 4, 6]); bits = r.choice({0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}[colour]); n = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    size = r.randrange(1, 2 ** bits + 1) if colour == 3 else 0
    a = pixels(r, g, w, h, n, bits)
    if colour == 3: a = (a.astype(int) % size).astype(np.uint8)

    def rows(a):
        out, last = b'', None
        for y in range(a.shape[0]):
            row = a[y].reshape(-1)
            raw = row.astype('>u2').tobytes() if bits == 16 else np.packbits(((row[:, None] >> np.arange(bits - 1, -1, -1)) & 1).reshape(-1).astype(np.uint8)).tobytes()
            f = r.randrange(3); bpp = max(1, n * bits // 8); x = np.frombuffer(raw, np.uint8).astype(int); prev = np.zeros(len(x), int) if last is None else last
            coded = x if f == 0 else x - np.concatenate([np.zeros(min(bpp, len(x)), int), x[:-bpp]])[:len(x)] if f == 1 else x - prev
            out += bytes([f]) + (coded % 256).astype(np.uint8).tobytes(); last = x
        return out
    inter = r.random() < .3
    if inter:
        raw = b''.join(rows(a[y0::dy, x0::dx]) for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)) if a[y0::dy, x0::dx].size)
    else: raw = rows(a)
    pre = post = b''
    if r.random() < .2: pre += chunk(b'gAMA', struct.pack('>I', r.choice([45455, 100000])))
    if r.random() < .2: pre += chunk(b'iCCP', b'x\0\0' + zlib.compress(bytes(200)))
    if r.random() < .1: pre += chunk(b'sRGB', b'\0')
    if colour == 3 or r.random() < .1: pre += chunk(b'PLTE', g.integers(0, 256, 3 * (size or 4)).astype(np.uint8).tobytes())
    named = False
    if r.random() < .3 and colour in (0, 2, 3):
        t = g.integers(0, 256, r.randrange(1, size + 1)).astype(np.uint8).tobytes() if colour == 3 else b''.join(struct.pack('>H', int(v)) for v in a[r.randrange(h), r.randrange(w)])
        pre += chunk(b'tRNS', t); named = colour != 3 and bits != 8
    if r.random() < .3:
        c = r.choice([chunk(b'eXIf', r.choice([b'', b'', b'Exif\0\0']) + exif(r)), chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0' + xmp(r)), chunk(b'iTXt', b'XML:com.adobe.xmp\0\1\0\0\0' + zlib.compress(xmp(r))),
                      chunk(b'zTXt', b'Raw profile type exif\0\0' + zlib.compress(b'\nexif\n 100\n' + (b'Exif\0\0' + exif(r)).hex().encode() + b'\n'))])
        if r.random() < .5: pre += c
        else: post += c
    if r.random() < .1: pre = chunk(b'acTL', struct.pack('>II', 1, 0)) + pre + chunk(b'fcTL', struct.pack('>IIIIIHHBB', 0, w, h, 0, 0, 1, 10, 0, 0))
    z = zlib.compress(raw); cut = r.randrange(len(z))
    body = chunk(b'IDAT', z) if r.random() < .5 else chunk(b'IDAT', z[:cut]) + chunk(b'IDAT', z[cut:])
    data = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, bits, colour, 0, 0, inter)) + pre + body + post + chunk(b'IEND', b'')
    if not (colour == 0 and bits == 16 or named): return data, f'png colour {colour} bits {bits}', None
    # What Pillow reads otherwise: 16 bits of grey have the upper 8, and a colour that is named transparent is so at its full depth.
    v = (a >> 8 if bits == 16 else a.astype(int) * 255 // (2 ** bits - 1)).astype(np.uint8)
    if named: v[(a == np.array(struct.unpack('>%dH' % n, t), a.dtype)).all(-1)] = 255
    return data, f'png colour {colour} bits {bits} by hand', Image.fromarray(np.broadcast_to(v, (h, w, 3)) if n == 1 else v)


def saved(r, g):
    """A picture as Pillow saves it."""
    kind = r.choice(['JPEG', 'JPEG', 'JPEG', 'WEBP', 'WEBP', 'PNG', 'APNG', 'AWEBP'])
    w, h = side(r), side(r)
    mode = r.choice({'JPEG': ['RGB', 'RGB', 'L', 'CMYK'], 'PNG': ['1', 'L', 'LA', 'RGB', 'RGBA', 'P']}.get(kind, ['RGB', 'RGBA']))
    def one(w, h):
        im = Image.fromarray(pixels(r, g, w, h, 4 if mode in ('RGBA', 'LA', 'CMYK') else 3), 'RGBA' if mode in ('RGBA', 'LA') else 'CMYK' if mode == 'CMYK' else 'RGB')
        return im if im.mode == mode else im.quantize(r.randrange(2, 200)) if mode == 'P' else im.convert(mode)
    im = one(w, h); b = io.BytesIO(); o = {}
    if r.random() < .3: o['exif'] = b'Exif\0\0' + exif(r)
    elif r.random() < .2: o['xmp'] = xmp(r)
    if kind == 'JPEG':
        o.update(quality=r.choice([60, 75, 90, 95, 100]), subsampling=r.choice([0, 1, 2, -1]), progressive=r.random() < .3, optimize=r.random() < .3)
        if mode in ('L', 'CMYK'): o['subsampling'] = -1 if mode == 'L' else 0
        if r.random() < .2: o['restart_marker_blocks'] = r.randrange(1, 9)
        if r.random() < .1 and mode == 'RGB': o['keep_rgb'] = True
        if o.get('keep_rgb'): o['subsampling'] = 0
    if kind in ('WEBP', 'AWEBP'): o.update(lossless=r.random() < .5, quality=r.choice([50, 80, 100]), exact=r.random() < .5)
    if kind in ('APNG', 'AWEBP'): o.update(save_all=True, append_images=[one(w, h) for _ in range(r.randrange(1, 4))], duration=50)
    if kind == 'APNG': o.update(default_image=r.random() < .5); o.pop('xmp', None)
    if kind == 'PNG': o.pop('xmp', None)
    if kind == 'WEBP' and o['lossless'] and r.random() < .3: im = im.convert('RGBA')
    im.save(b, {'APNG': 'PNG', 'AWEBP': 'WEBP'}.get(kind, kind), **o)
    return b.getvalue(), f'{kind} {mode} ' + ' '.join(f'{k}={v}' for k, v in o.items() if k not in ('exif', 'xmp', 'append_images')), None


def sampled(r, g):
    """A baseline JPEG made by hand, of flat blocks: any sampling factors, with and without Adobe's mark, in one scan or one a channel, with restart markers."""
    n = r.choice([1, 3, 3, 3, 3, 4]); usual = r.random() < .6
    f = [r.choice([(1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (4, 2)] if usual else [(1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (1, 4), (4, 2), (2, 4), (3, 1), (1, 3)])] + [(1, 1)] * (n - 1)
    if n == 4: f[0] = f[3] = r.choice([(1, 1), (2, 2)])
    if not usual:
        for i in range(1, n): f[i] = r.choice([(1, 1), (1, 1), (2, 1), (1, 2), (2, 2)])
    w, h = side(r), side(r); H, V = max(x for x, _ in f), max(y for _, y in f); mx, my = -(-w // (8 * H)), -(-h // (8 * V))
    ids = r.choice([[1, 2, 3, 4], [1, 2, 3, 4], [0, 1, 2, 3], [ord(c) for c in 'RGBA']]); restart = r.choice([0, 0, 0, r.randrange(1, 5)]); apart = n > 1 and r.random() < .2
    length = [0, 1, 5, 1, 1, 1, 1, 1, 1]; codes, code, k = {}, 0, 0  # the usual table of differences, T.81 table K.3
    for bits in range(1, 10):
        for _ in range(length[bits - 1]): codes[k] = (code, bits); code, k = code + 1, k + 1
        code <<= 1
    planes = [np.clip(np.cumsum(g.integers(-30, 31, (my * y, mx * x)), 1), -100, 100) for x, y in f]

    def scan(which):
        """A scan of some channels, with its header."""
        out, acc, nbits, last = b'', 0, 0, [0] * n
        if len(which) == 1:
            i = which[0]; cols, rows = -(-(-(-w * f[i][0] // H)) // 8), -(-(-(-h * f[i][1] // V)) // 8)
            units = [[(i, y, x)] for y in range(rows) for x in range(cols)]
        else: units = [[(i, my_ * f[i][1] + v, mx_ * f[i][0] + u) for i in which for v in range(f[i][1]) for u in range(f[i][0])] for my_ in range(my) for mx_ in range(mx)]
        bits = []
        def flush():
            nonlocal bits, out
            bits += [1] * (-len(bits) % 8); raw = np.packbits(np.array(bits, np.uint8)).tobytes() if bits else b''
            out += raw.replace(b'\xff', b'\xff\0'); bits = []
        put = lambda v, m: bits.extend((v >> j) & 1 for j in range(m - 1, -1, -1))
        for number, unit in enumerate(units):
            if restart and number and number % restart == 0: flush(); out += bytes([0xff, 0xd0 + (number // restart - 1) % 8]); last = [0] * n
            for i, y, x in unit:
                d = int(planes[i][y, x]) - last[i]; last[i] = int(planes[i][y, x]); size = abs(d).bit_length()
                put(*codes[size]); put(d if d > 0 else d + (1 << size) - 1, size) if size else None; put(0, 1)  # the one code for the end of a block
        flush()
        return b'\xff\xda' + struct.pack('>HB', 6 + 2 * len(which), len(which)) + b''.join(bytes([ids[i], 0]) for i in which) + b'\0\x3f\0' + out
    d = b'\xff\xd8'
    if r.random() < .5: d += b'\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0'
    mark = r.choice([None, 0, 1, 2])
    if mark is not None: d += b'\xff\xee\0\x0eAdobe\0\x64\0\0\0\0' + bytes([mark])
    if r.random() < .2: d += b'\xff\xe1' + struct.pack('>H', 2 + 6 + len(t := exif(r))) + b'Exif\0\0' + t
    d += b'\xff\xdb\0\x43\0' + bytes([r.choice([4, 8, 9])] * 64)
    kind, depth = r.choice([0xc0] * 30 + [0xc1, 0xc3, 0xc9, 0xca, 0xcb, 0xf7]), r.choice([8] * 30 + [12])
    d += bytes([0xff, kind]) + struct.pack('>HBHHB', 8 + 3 * n, depth, h, w, n) + b''.join(bytes([ids[i], f[i][0] << 4 | f[i][1], 0]) for i in range(n))
    d += b'\xff\xc4' + struct.pack('>HB', 19 + 12, 0) + bytes(length + [0] * 7) + bytes(range(12)) + b'\xff\xc4' + struct.pack('>HB', 19 + 1, 0x10) + bytes([1] + [0] * 15) + b'\0'
    if restart: d += b'\xff\xdd\0\4' + struct.pack('>H', restart)
    for which in ([[i] for i in range(n)] if apart else [list(range(n))]): d += scan(which)
    return d + b'\xff\xd9', f'jpeg {kind:x} depth {depth} of factors {f} Adobe {mark} ids {ids} restart {restart} apart {apart}', None


def animated(r, g):
    """A WebP whose first frame is smaller than the canvas."""
    W, H = 2 * side(r) + 6, 2 * side(r) + 6; w, h = r.randrange(1, W // 2), r.randrange(1, H // 2); x, y = 2 * r.randrange((W - w) // 2), 2 * r.randrange((H - h) // 2)
    alpha = r.random() < .5; b = io.BytesIO()
    Image.fromarray(pixels(r, g, w, h, 4 if alpha else 3)).save(b, 'WEBP', lossless=r.random() < .5, exact=True); s = b.getvalue()
    at, sub = 12, b''
    while at < len(s):
        n = struct.unpack('<I', s[at + 4:at + 8])[0]
        if s[at:at + 4] in (b'ALPH', b'VP8 ', b'VP8L'): sub += s[at:at + 8 + n + n % 2]
        at += 8 + n + n % 2
    three = lambda v: struct.pack('<I', v)[:3]
    part = lambda k, d: k + struct.pack('<I', len(d)) + d + bytes(len(d) % 2)
    frame = three(x // 2) + three(y // 2) + three(w - 1) + three(h - 1) + three(100) + bytes([r.randrange(4)]) + sub
    body = part(b'VP8X', bytes([2 | (16 if alpha else 0), 0, 0, 0]) + three(W - 1) + three(H - 1)) + part(b'ANIM', g.integers(0, 256, 4).astype(np.uint8).tobytes() + b'\0\0') + part(b'ANMF', frame) * 2
    return b'RIFF' + struct.pack('<I', len(body) + 4) + b'WEBP' + body, f'webp frame {w}x{h} at {x},{y} of {W}x{H} alpha {alpha}', None


def flagged(r, g):
    """A WebP with alpha that says it has none, or the other way round."""
    w, h = side(r), side(r); b = io.BytesIO()
    Image.fromarray(pixels(r, g, w, h, 4)).save(b, 'WEBP', lossless=r.random() < .5, exact=True); s = bytearray(b.getvalue()); kind = bytes(s[12:16]).decode()
    if kind == 'VP8X': s[20] ^= 16 * r.randrange(2)
    elif kind == 'VP8L': s[24] ^= 16 * r.randrange(2)
    return bytes(s), 'webp of flags ' + kind, None


def main(out, n=500, seed=1, most=90):
    global MOST; MOST = int(most); lines, text = [], lambda b: base64.b64encode(b).decode()
    for i in range(int(n)):
        r, g = random.Random(f'{seed} {i}'), np.random.default_rng([int(seed), i])
        data, kind, ours = r.choice([png, png, saved, saved, saved, sampled, sampled, animated, flagged])(r, g)
        if r.random() < .06: data = data[:r.randrange(len(data))]; kind += ' cut'
        elif r.random() < .06: data += bytes(r.randrange(1, 99)); kind += ' longer'
        name = f'{i:04d}.' + r.choice(['png', 'jpg', 'webp']); line = {'name': name, 'kind': kind, 'data': text(data)}
        try:
            im = Image.open(io.BytesIO(data)); im.load(); o = im.getexif().get(0x0112, 1); white = ours
            if ours is None:
                rgba = im.convert('RGBA'); white = Image.new('RGBA', rgba.size, (255, 255, 255)); white.alpha_composite(rgba); white = white.convert('RGB')
                if im.mode in ('RGB', 'L', 'CMYK', '1') and 'transparency' not in im.info: white = im.convert('RGB')
            if o in TURN: white = white.transpose(TURN[o])
            assert white.size == ImageOps.exif_transpose(im).size
            line.update(width=white.width, height=white.height, pixels=text(white.tobytes()))
        except Exception as e: line['error'] = f'{type(e).__name__}: {e}'
        lines.append(json.dumps(line))
    open(out, 'w').write('\n'.join(lines) + '\n'); print(n, 'pictures in', out)


if __name__ == '__main__': main(*sys.argv[1:])
