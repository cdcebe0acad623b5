"""The photographs: labels, the split by patient, the cache of resized pictures, augmentation.

A record is one row of labels.csv. Its group is what must never be on both sides of the split: the patient for
PAD-UFES-20, the hash of the file for ISIC 2017, which names no patients.
"""
import collections
import csv
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

CLASSES = ["ACK", "BCC", "MEL", "NEV", "SCC", "SEK"]
CANCERS = ["BCC", "MEL", "SCC"]
SOURCES = {"PAD": "pad-ufes-20", "ISIC": "isic-2017"}
STORED = 256  # training crops are cut from pictures of this size
SIZE = 224

Record = collections.namedtuple("Record", "source path label group fitzpatrick")


def read_labels(root):
    records = []
    for source, folder in SOURCES.items():
        base = Path(root) / folder
        with open(base / "labels.csv", newline="") as f:
            for row in csv.DictReader(f):
                path = base / "images" / row["file"]
                group = row.get("patient_id") or hashlib.sha256(path.read_bytes()).hexdigest()[:16]
                fitzpatrick = (row.get("fitzpatrick") or "").split(".")[0]
                records.append(Record(source, path, CLASSES.index(row["diagnosis"]), f"{source}:{group}", fitzpatrick))
    return records


def split(records, seed):
    """'train', 'calibrate' or 'test' for each record; every group lies in one part only.

    Groups are ordered by the rarest class they hold and by a keyed hash of their name; of every ten, two go to the
    test part and one to calibration. Thus rare classes are in all parts, and no photograph decides by its looks."""
    counts = collections.Counter((r.source, r.label) for r in records)
    rarest = {}
    for r in records:
        rarest[r.group] = min(rarest.get(r.group, (1 << 30, 0)), (counts[r.source, r.label], r.label))
    strata = collections.defaultdict(list)
    for group in rarest:
        strata[group.split(":")[0], rarest[group]].append(group)
    part = {}
    for key in sorted(strata):
        order = sorted(strata[key], key=lambda g: hashlib.sha256(f"{seed}/{g}".encode()).digest())
        for i, group in enumerate(order):
            part[group] = ("test", "train", "train", "calibrate", "train",
                           "test", "train", "train", "train", "train")[i % 10]
    return [part[r.group] for r in records]


def load_picture(path, size):
    """What the program in C does with a photograph: upright, RGB, squashed with Lanczos."""
    with Image.open(path) as im:
        im = ImageOps.exif_transpose(im).convert("RGB")
        return np.asarray(im.resize((size, size), Image.Resampling.LANCZOS))


def cached_pictures(records, size, folder):
    """All pictures as one uint8 array, kept in a file named after what it was made from."""
    names = "\n".join(f"{r.source}/{r.path.name}/{r.path.stat().st_size}" for r in records)
    key = hashlib.sha256(f"{size}\n{names}".encode()).hexdigest()[:16]
    path = Path(folder) / f"pictures-{size}-{key}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(2) as pool:
            pictures = np.stack(list(pool.map(lambda r: load_picture(r.path, size), records)))
        part = path.with_suffix(".part.npy")
        np.save(part, pictures)
        part.rename(path)
    return np.load(path)


# ---- augmentation ---------------------------------------------------------------------------------------

def _hue_matrix(angle):
    """Rotation of the chroma plane of YIQ, as a 3x3 matrix on RGB."""
    yiq = np.array([[.299, .587, .114], [.596, -.274, -.322], [.211, -.523, .312]])
    c, s = np.cos(angle), np.sin(angle)
    return np.linalg.inv(yiq) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ yiq


def augment(picture, rng):
    """A random view: crop of 65-100 % of the area, flips, quarter turns, brightness, contrast, saturation, hue."""
    area, aspect = rng.uniform(.65, 1), np.exp(rng.uniform(-.15, .15))
    w = min(1.0, np.sqrt(area * aspect)) * STORED
    h = min(1.0, np.sqrt(area / aspect)) * STORED
    left, top = rng.uniform(0, STORED - w), rng.uniform(0, STORED - h)
    im = Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
    x = np.asarray(im, np.float32)
    if rng.random() < .5:
        x = x[:, ::-1]
    x = np.rot90(x, rng.integers(4))
    mix = _hue_matrix(rng.uniform(-.12, .12))
    saturation = rng.uniform(.75, 1.25)
    mix = saturation * mix + (1 - saturation) * np.array([.299, .587, .114])[None, :]
    contrast, brightness = rng.uniform(.75, 1.25), rng.uniform(-25, 25)
    mean = x.mean()
    x = (x - mean) @ (mix.T * contrast).astype(np.float32) + np.float32(mean + brightness)
    return np.clip(x, 0, 255)


def sampling_weights(records):
    """(count of source and class)^-0.6: rare ones are drawn oftener, without being drowned in copies."""
    counts = collections.Counter((r.source, r.label) for r in records)
    w = np.array([counts[r.source, r.label] ** -.6 for r in records])
    return w / w.sum()


def batches(pictures, records, batch, seed, epoch):
    """One epoch: as many draws as there are records, in whole batches, made one batch ahead in a thread."""
    rng = np.random.default_rng([seed, epoch])
    labels = np.array([r.label for r in records])
    drawn = rng.choice(len(records), len(records) // batch * batch, p=sampling_weights(records))

    def make(i):
        picked = drawn[i * batch:(i + 1) * batch]
        view = [augment(pictures[k], np.random.default_rng([seed, epoch, i, j])) for j, k in enumerate(picked)]
        return np.stack(view), labels[picked]

    with ThreadPoolExecutor(1) as pool:
        count = len(drawn) // batch
        ahead = pool.submit(make, 0)
        for i in range(count):
            now = ahead.result()
            ahead = pool.submit(make, i + 1) if i + 1 < count else None
            yield now
