"""Compares image_decode with Pillow over any pictures, by hand:

    python compare_images.py BUILD/tests/image_dump 300x300,224x224 FOLDER_OR_FILE... [--limit N]

Prints each picture that differs and the count of identical ones. Pillow's version as in
requirements-image.txt; another libjpeg-turbo inside it may differ by a bit in places."""
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

warnings.simplefilter("ignore")
args = sys.argv[1:]
limit = 10**9
if "--limit" in args:
    at = args.index("--limit")
    limit = int(args[at + 1])
    del args[at : at + 2]
dump, sizes = args[0], [tuple(map(int, s.split("x"))) for s in args[1].split(",")]
files = []
for name in args[2:]:
    p = Path(name)
    files += sorted(f for f in p.rglob("*") if f.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}) if p.is_dir() else [p]
step = max(1, len(files) // limit)
files = files[::step][:limit]
bad = same = 0
for w, h in sizes:
    for mode, channels in (("RGB", 3), ("L", 1)):
        for f in files:
            try:
                with Image.open(f) as im:
                    im = ImageOps.exif_transpose(im)
                    want = np.asarray(im.convert(mode).resize((w, h), Image.Resampling.LANCZOS)).reshape(-1)
            except Exception as e:  # whatever Pillow refuses
                want = e
            run = subprocess.run([dump, str(w), str(h), str(channels), str(f)], capture_output=True)
            if run.returncode != 0:
                print(f"{f}: image_dump died with {run.returncode}")
                bad += 1
                continue
            got = None if run.stdout[0] else np.frombuffer(run.stdout[1:], np.uint8)
            if got is None and isinstance(want, Exception):
                same += 1
            elif got is None or isinstance(want, Exception):
                bad += 1
                print(f"{f} {w}x{h} {mode}: here {'error ' + run.stderr.decode().strip() if got is None else 'fine'}, Pillow {want if isinstance(want, Exception) else 'fine'}")
            elif np.array_equal(got, want):
                same += 1
            else:
                bad += 1
                d = np.abs(got.astype(int) - want)
                print(f"{f} {w}x{h} {mode}: {np.count_nonzero(d)} of {d.size} differ, at most by {d.max()}")
print(f"{same} identical, {bad} not, {len(files)} pictures, sizes {sizes}, RGB and L")
sys.exit(bad != 0)
