"""Makes clip/testdata/preprocess.json: what CLIPImageProcessor on Pillow makes of pictures, before values are scaled and normalized.

usage: preprocess.py clip/testdata/preprocess.json     (PyPI: transformers 5.24.0, pillow 13.0.0, numpy)
"""
import base64, json, sys
import numpy as np
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

SQUARE = {'size': {'height': 16, 'width': 16}}
CASES = [(w, h, 'RGB', {}) for w, h in ((40, 30), (30, 40), (16, 16), (17, 90), (90, 17), (333, 16), (5, 9), (9, 4), (1, 1), (61, 200), (200, 61))]
CASES += [(40, 30, 'RGB', {'resample': r}) for r in (1, 2, 4, 5)] + [(31, 64, 'RGBA', {}), (64, 31, 'RGBA', SQUARE)]
CASES += [(17, 90, 'RGB', SQUARE), (90, 17, 'RGB', SQUARE), (12, 60, 'RGB', SQUARE | {'do_center_crop': False}), (50, 49, 'RGB', {'size': {'shortest_edge': 21}}), (50, 49, 'RGB', {'size': {'shortest_edge': 9}})]
CASES += [(w, h, 'RGB', {'do_resize': False}) for w, h in ((40, 30), (31, 17), (7, 30), (30, 9), (5, 4))] + [(33, 20, 'RGB', {'size': 16, 'crop_size': 16})]

def picture(w, h, mode):
    y, x, c = np.mgrid[0:h, 0:w, 0:len(mode)]
    return Image.fromarray(((x * 37 + y * 91 + c * 53 + x * y * 7) & 255).astype(np.uint8), mode)

def main(out):
    rows = []
    for w, h, mode, config in CASES:
        p = CLIPImageProcessorPil(**({'size': {'shortest_edge': 16}, 'crop_size': {'height': 16, 'width': 16}, 'do_rescale': False, 'do_normalize': False} | config))
        a = p(picture(w, h, mode), return_tensors='np').pixel_values[0]; assert a.dtype == np.uint8, a.dtype
        rows.append({'width': w, 'height': h, 'alpha': mode == 'RGBA', 'config': json.loads(p.to_json_string()), 'pixels': base64.b64encode(a.transpose(1, 2, 0).tobytes()).decode()})
    open(out, 'w').write('[\n' + ',\n'.join(json.dumps(r) for r in rows) + '\n]\n')

if __name__ == '__main__': main(*sys.argv[1:])
