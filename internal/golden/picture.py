"""Makes internal/picture/testdata: a noisy picture and what Pillow makes of it.

usage: picture.py internal/picture/testdata     (PyPI: pillow 13.0.0, numpy)
"""
import sys
import numpy as np
from PIL import Image, ImageOps

def main(out):
    g = np.random.default_rng(7); h, w = 37, 53; yy, xx = np.mgrid[0:h, 0:w]
    im = np.stack([127 + 110 * np.sin(xx / 4 + i) * np.cos(yy / 3 - i) for i in range(3)], -1) + g.normal(0, 20, (h, w, 3))
    im = Image.fromarray(im.clip(0, 255).round().astype(np.uint8)); im.save(f'{out}/source.png')
    for name, f in (('bicubic', Image.BICUBIC), ('bilinear', Image.BILINEAR), ('lanczos', Image.LANCZOS)):
        for size in ((16, 11), (53, 20), (90, 101), (1, 1)): im.resize(size, f).save(f'{out}/{name}_{size[0]}x{size[1]}.png')
    soft = im.resize((530, 370), Image.BICUBIC).resize((101, 75), Image.BICUBIC)
    for name, sub in (('444', 0), ('422', 1), ('420', 2)):
        soft.save(f'{out}/{name}.jpg', quality=92, subsampling=sub); Image.open(f'{out}/{name}.jpg').convert('RGB').save(f'{out}/{name}_jpg.png')
    soft.save(f'{out}/lossy.webp', quality=90); Image.open(f'{out}/lossy.webp').convert('RGB').save(f'{out}/lossy_webp.png')
    soft.save(f'{out}/lossless.webp', lossless=True); soft.save(f'{out}/lossless_webp.png')
    alpha = im.convert('RGBA'); alpha.putalpha(Image.fromarray((g.random((h, w)) * 255).astype(np.uint8))); alpha.save(f'{out}/alpha.png'); alpha.convert('RGB').save(f'{out}/alpha_png.png')
    im.convert('L').save(f'{out}/grey.png'); im.convert('L').convert('RGB').save(f'{out}/grey_png.png')
    im.quantize(40).save(f'{out}/palette.png'); im.quantize(40).convert('RGB').save(f'{out}/palette_png.png')
    for name, f in (('bicubic', Image.BICUBIC), ('box', Image.BOX), ('hamming', Image.HAMMING)):
        for size in ((60, 9), (50, 30), (51, 31), (20, 3)): im.resize(size, f).save(f'{out}/{name}_{size[0]}x{size[1]}.png')  # rows lost against columns lost: the order of passes
    small = soft.resize((24, 17), Image.BICUBIC)
    for o in range(2, 9):
        exif = Image.Exif(); exif[0x112] = o; small.save(f'{out}/exif{o}.jpg', quality=95, subsampling=0, exif=exif)
        ImageOps.exif_transpose(Image.open(f'{out}/exif{o}.jpg')).save(f'{out}/exif{o}_jpg.png')
    cmyk = Image.merge('CMYK', (*small.split(), small.convert('L').point(lambda v: v // 2))); cmyk.save(f'{out}/cmyk.jpg', quality=95); Image.open(f'{out}/cmyk.jpg').convert('RGB').save(f'{out}/cmyk_jpg.png')
    im.convert('1').save(f'{out}/bits.png'); im.convert('1').convert('RGB').save(f'{out}/bits_png.png')
    white = Image.new('RGBA', alpha.size, (255,) * 4); Image.alpha_composite(white, alpha).convert('RGB').save(f'{out}/alpha_white.png')

if __name__ == '__main__': main(*sys.argv[1:])
