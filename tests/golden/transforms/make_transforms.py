"""Records the outputs of torchvision's transforms of images in cases.npz.

The name of an array is a function and its arguments, separated by `_`. The function was applied to the array `color` or,
with the prefix `gray.`, to the array `gray`.

usage: python3 make_transforms.py  (with torch, torchvision and numpy)
"""

from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.functional as F

torch.manual_seed(0)
color = torch.rand(3, 7, 9)
# Gray pixels, pure colors and equal maxima exercise the special cases of the hue.
color[:, 0, :6] = torch.tensor(
    [[0, 1, 0.5, 1, 0, 0.25], [0, 1, 0.5, 0, 1, 0.75], [0, 1, 0.5, 0, 0, 0.75]], dtype=torch.float32
)
gray = torch.rand(1, 6, 5)

SIZES = [(4, 5), (14, 18), (3, 20), (7, 9), (1, 1), (20, 4)]
CASES = {
    "resize": (lambda x, h, w: F.resize(x, [h, w], antialias=True), SIZES),
    "shorter": (lambda x, s: F.resize(x, s, antialias=True), [(3,), (7,), (10,)]),
    "center": (lambda x, h, w: F.center_crop(x, [h, w]), [(4, 4), (5, 6), (7, 4), (2, 9), (10, 12), (4, 14)]),
    "rotate": (
        lambda x, a: F.rotate(x, a, interpolation=F.InterpolationMode.BILINEAR),
        [(0,), (30,), (-75,), (10.5,), (180,)],
    ),
    "brightness": (F.adjust_brightness, [(0,), (0.5,), (1.7,)]),
    "contrast": (F.adjust_contrast, [(0,), (0.5,), (1.7,)]),
    "saturation": (F.adjust_saturation, [(0,), (0.5,), (1.7,)]),
    "hue": (F.adjust_hue, [(-0.5,), (-0.1,), (0,), (0.3,), (0.5,)]),
    "normalize": (lambda x, m, s: F.normalize(x, [m] * len(x), [s] * len(x)), [(0.3, 0.7)]),
    "horizontal": (F.hflip, [()]),
    "vertical": (F.vflip, [()]),
}

arrays = {"color": color, "gray": gray}
for prefix, image in [("", color), ("gray.", gray)]:
    for name, (function, cases) in CASES.items():
        for arguments in cases:
            key = prefix + "_".join([name, *map(str, arguments)])
            arrays[key] = function(image, *arguments)

np.savez_compressed(
    Path(__file__).parent / "cases.npz", **{key: array.numpy() for key, array in arrays.items()}
)
