"""Makes internal/picture/testdata and clip/testdata: pictures, and what Pillow and transformers make of them.

usage: picture.py internal/picture/testdata clip/testdata     (PyPI: pillow 13.0.0, numpy, transformers 5.23.0)
"""
import json, os, struct, sys, zlib
import numpy as np
from PIL import Image, ImageOps
from transformers.image_transforms import convert_to_rgb
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

FILTERS = {'nearest': 0, 'lanczos': 1, 'bilinear': 2, 'bicubic': 3, 'box': 4, 'hamming': 5}

def png(colour, h, w, rows, extra=b''):
    """A PNG of 16 bits a channel, which Pillow reads but does not write."""
    chunk = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    raw = b''.join(b'\0' + r.astype('>u2').tobytes() for r in rows)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 16, colour, 0, 0, 0)) + extra + chunk(b'IDAT', zlib.compress(raw)) + chunk(b'IEND', b'')

def answer(out, name):
    """What convert("RGB") makes of a file, and beside it what convert_to_rgb does, where that differs."""
    im, stem = Image.open(f'{out}/{name}'), f'{out}/{name.replace(".", "_")}'
    im.convert('RGB').save(stem + '.png'); white = convert_to_rgb(im, return_numpy=True)
    if (white != np.array(im.convert('RGB'))).any(): Image.fromarray(white).save(stem + '_white.png')

def main(out, clip):
    g = np.random.default_rng(7); h, w = 37, 53; yy, xx = np.mgrid[0:h, 0:w]
    a = np.stack([127 + 110 * np.sin(xx / 4 + i) * np.cos(yy / 3 - i) for i in range(3)], -1) + g.normal(0, 20, (h, w, 3))
    im = Image.fromarray(a.clip(0, 255).round().astype(np.uint8)); im.save(f'{out}/source.png')
    # 48×9 and 41×30: columns first; 45×21: on the edge, rows first.
    for name, f in FILTERS.items():
        for size in ((16, 11), (53, 20), (90, 101), (1, 1), (48, 9), (41, 30), (45, 21), (60, 20)): im.resize(size, f).save(f'{out}/{name}_{size[0]}x{size[1]}.png')
    soft = im.resize((530, 370), Image.BICUBIC).resize((101, 75), Image.BICUBIC)
    for name, sub in (('444', 0), ('422', 1), ('420', 2)): soft.save(f'{out}/{name}.jpg', quality=92, subsampling=sub)
    soft.resize((3, 40)).save(f'{out}/narrow.jpg', quality=92, subsampling=2)
    data = bytearray(open(f'{out}/422.jpg', 'rb').read()); at = data.index(b'\xff\xc0')  # 7×10 units of 16×8 pixels, read as units of 8×16
    data[at + 5:at + 9] = struct.pack('>HH', 10 * 16, 7 * 8); data[at + 11] = 0x12; open(f'{out}/440.jpg', 'wb').write(data)
    data = open(f'{out}/narrow.jpg', 'rb').read(); mark = b'\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0'  # its channels read as red, green and blue
    assert data[2:4] == b'\xff\xe0'; open(f'{out}/narrow_rgb.jpg', 'wb').write(data[:2] + mark + data[20:])
    soft.convert('L').save(f'{out}/grey.jpg'); soft.convert('CMYK').save(f'{out}/cmyk.jpg', quality=92)
    soft.save(f'{out}/lossy.webp', quality=90); soft.save(f'{out}/lossless.webp', lossless=True)
    alpha = im.convert('RGBA'); alpha.putalpha(Image.fromarray((g.random((h, w)) * 255).astype(np.uint8))); alpha.save(f'{out}/alpha.png')
    alpha.save(f'{out}/alpha.webp', lossless=True, exact=True); alpha.save(f'{out}/alpha_lossy.webp', quality=95)
    im.convert('L').save(f'{out}/grey.png'); im.convert('LA').save(f'{out}/grey_alpha.png'); im.convert('1').save(f'{out}/bits.png')
    im.quantize(40).save(f'{out}/palette.png'); im.quantize(40).save(f'{out}/palette_alpha.png', transparency=bytes(range(0, 240, 6)))
    for name, colour, n in (('deep_grey', 0, 1), ('deep', 2, 3), ('deep_grey_alpha', 4, 2), ('deep_alpha', 6, 4)):
        deep = g.integers(0, 65536, (5, 7, n)); deep[0, :4] = 200; open(f'{out}/{name}.png', 'wb').write(png(colour, 5, 7, deep))
    for name in ('444.jpg 422.jpg 420.jpg 440.jpg narrow.jpg narrow_rgb.jpg grey.jpg cmyk.jpg lossy.webp lossless.webp alpha.webp alpha_lossy.webp alpha.png grey.png grey_alpha.png '
                 'bits.png palette.png palette_alpha.png deep.png deep_grey_alpha.png deep_alpha.png').split(): answer(out, name)
    for o in range(1, 9):  # load_image of diffusers turns with exif_transpose
        exif = Image.Exif(); exif[0x0112] = o; small = im.crop((0, 0, 9, 6))
        for kind in ('png', 'webp', 'jpg'): small.save(f'{out}/turned{o}.{kind}', exif=exif, **({'quality': 95, 'subsampling': 0} if kind == 'jpg' else {'lossless': True} if kind == 'webp' else {}))
        ImageOps.exif_transpose(Image.open(f'{out}/turned{o}.png')).save(f'{out}/turned{o}_upright.png', exif=b'')
    processors(im, alpha, clip)

def processors(im, alpha, out):
    """What CLIPImageProcessor makes of pictures under some configurations, as float32 of [Side,Side,3]."""
    os.makedirs(out, exist_ok=True); rows = []; im.save(f'{out}/picture.png'); alpha.save(f'{out}/alpha.png')
    plain = dict(do_normalize=False, do_rescale=False, crop_size=16)
    for name, c in (('picture', dict(size=16, crop_size=16)), ('alpha', dict(size=16, crop_size=16)), ('picture', dict(size={'shortest_edge': 21}, crop_size={'height': 16, 'width': 16}, resample=2)),
                    ('picture', dict(size={'height': 9, 'width': 41}, **plain)), ('picture', dict(size=7, **plain)), ('picture', dict(size={'height': 16, 'width': 16}, do_center_crop=False, resample=1)),
                    ('picture', dict(do_resize=False, crop_size=16, do_rescale=False)), ('picture', dict(do_resize=False, crop_size=16, rescale_factor=0.01, image_mean=[0.5, 0.25, 0.1], image_std=[0.5, 0.3, 0.7])),
                    ('picture', dict(size=17, resample=0, **plain)), ('picture', dict(size=17, resample=4, **plain)), ('picture', dict(size=17, resample=5, **plain))):
        v = CLIPImageProcessorPil(**c)(Image.open(f'{out}/{name}.png'), return_tensors='np').pixel_values[0].transpose(1, 2, 0).astype(np.float32)
        assert v.shape == (16, 16, 3), v.shape
        rows.append({'picture': name + '.png', 'config': c, 'bits': v.ravel().view(np.uint32).tolist()})
    open(f'{out}/preprocessor.json', 'w').write('[\n' + ',\n'.join(json.dumps(r) for r in rows) + '\n]\n')

if __name__ == '__main__': main(*sys.argv[1:])
