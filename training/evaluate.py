"""Figures of a trained model on the test part, with 95 % intervals, and the temperature for its calibration.

The temperature is fitted on the calibration part; the test part only measures. Intervals are percentiles of a
bootstrap over groups (patients of PAD-UFES-20, files of ISIC 2017), so several photographs of one patient count as
what they are. All figures but those after calibration are of the model as it stands (temperature 1).
"""
import argparse
import collections
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

import data

ROUNDS, BINS = 1000, 15


def soften(probabilities, temperature):
    z = np.log(np.clip(probabilities, 1e-12, 1)) / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def fit_temperature(probabilities, labels):
    """The temperature of least negative log likelihood; one number, so a fine grid will do."""
    grid = np.exp(np.linspace(np.log(.25), np.log(4), 401))
    rows = np.arange(len(labels))
    losses = [-np.mean(np.log(np.clip(soften(probabilities, t)[rows, labels], 1e-12, 1))) for t in grid]
    return float(grid[int(np.argmin(losses))])


def auc(score, positive):
    """Area under the ROC curve by midranks (Mann-Whitney); None without both kinds."""
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return None
    values, where, counts = np.unique(score, return_inverse=True, return_counts=True)
    midrank = np.cumsum(counts) - (counts - 1) / 2
    return float((midrank[where][positive].sum() - n * (n + 1) / 2) / (n * m))


def calibration_error(p, labels):
    """Expected calibration error of the most likely class, in BINS equal bins."""
    top, right = p.max(axis=1), p.argmax(axis=1) == labels
    which = np.minimum((top * BINS).astype(int), BINS - 1)
    return float(sum(abs(right[which == b].sum() - top[which == b].sum()) for b in range(BINS)) / len(labels))


def measure(p, labels, temperature):
    """Flat name -> number (None where there are no cases). Only classes that occur count in balanced accuracy."""
    guess, out = p.argmax(axis=1), {}
    out["accuracy"] = float((guess == labels).mean())
    out["balanced_accuracy"] = float(np.mean([(guess[labels == k] == k).mean() for k in np.unique(labels)]))
    for k, code in enumerate(data.CLASSES):
        mine = labels == k
        out[f"{code}_sensitivity"] = float((guess[mine] == k).mean()) if mine.any() else None
        out[f"{code}_specificity"] = float((guess[~mine] != k).mean()) if (~mine).any() else None
        out[f"{code}_auc"] = auc(p[:, k], mine)
    cancers = [data.CLASSES.index(c) for c in data.CANCERS]
    out["cancers_auc"] = auc(p[:, cancers].sum(axis=1), np.isin(labels, cancers))
    out["ece"] = calibration_error(p, labels)
    out["ece_calibrated"] = calibration_error(soften(p, temperature), labels)
    return out


def with_intervals(p, records, temperature, seed, names=None):
    labels = np.array([r.label for r in records])
    members = collections.defaultdict(list)
    for i, r in enumerate(records):
        members[r.group].append(i)
    groups = [np.array(m) for m in members.values()]
    rng = np.random.default_rng(seed)
    point, drawn = measure(p, labels, temperature), collections.defaultdict(list)
    for _ in range(ROUNDS):
        picked = np.concatenate([groups[k] for k in rng.integers(len(groups), size=len(groups))])
        for name, value in measure(p[picked], labels[picked], temperature).items():
            if value is not None:
                drawn[name].append(value)
    counts = collections.Counter(data.CLASSES[k] for k in labels)
    out = {"photographs": len(records), "groups": len(groups), "cases": {c: counts[c] for c in data.CLASSES}}
    for name, value in point.items():
        if value is not None and (names is None or name in names):
            low, high = np.percentile(drawn[name], [2.5, 97.5])
            out[name] = {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}
    return out


def confusion(p, labels):
    table = np.zeros((len(data.CLASSES),) * 2, int)
    np.add.at(table, (labels, p.argmax(axis=1)), 1)
    return table.tolist()


def figures(model, pictures, records, parts, training):
    """Everything that figures.json holds. pictures: all of them, 224x224, in the order of records and parts."""
    def pick(part):
        rows = [i for i, name in enumerate(parts) if name == part]
        return model.predict(pictures[rows], batch_size=32, verbose=0), [records[i] for i in rows]

    seed = training["seed"]
    p, held = pick("calibrate")
    temperature = fit_temperature(p, np.array([r.label for r in held]))
    p, test = pick("test")
    out = {"classes": data.CLASSES, "training": training,
           "parts": {f"{s} {part}": sum(r.source == s and q == part for r, q in zip(records, parts))
                     for s in data.SOURCES for part in ("train", "calibrate", "test")},
           "temperature": round(temperature, 4), "bootstrap_rounds": ROUNDS, "test": {}}
    chosen = {"both": np.ones(len(test), bool)}
    chosen.update({s: np.array([r.source == s for r in test]) for s in data.SOURCES})
    for name, mask in chosen.items():
        some = [r for r, m in zip(test, mask) if m]
        out["test"][name] = with_intervals(p[mask], some, temperature, seed)
        out["test"][name]["confusion_rows_are_labels"] = confusion(p[mask], np.array([r.label for r in some]))
    out["fitzpatrick"] = {}
    for kind in ["1", "2", "3", "4", "5", "6", ""]:
        mask = np.array([r.source == "PAD" and r.fitzpatrick == kind for r in test])
        some = [r for r, m in zip(test, mask) if m]
        shown = {"accuracy", "balanced_accuracy", "cancers_auc"}
        found = with_intervals(p[mask], some, temperature, seed, shown) if some else {"photographs": 0}
        out["fitzpatrick"][kind or "unknown"] = found
    return out


def write(out, path):
    Path(path).write_text(json.dumps(out, indent=1) + "\n")
    told = ("accuracy", "balanced_accuracy", "MEL_auc", "SEK_auc", "cancers_auc", "ece", "ece_calibrated")
    for source, part in out["test"].items():
        print(f"{source}: {part['photographs']} photographs")
        for name in told:
            if name in part:
                figure = part[name]
                print(f"  {name} {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]", flush=True)


def main():
    import keras

    here = Path(__file__).resolve().parent
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=here / "../shared/data", help="folder with pad-ufes-20 and isic-2017")
    p.add_argument("--out", type=Path, default=here / "out", help="folder with dermis-lite0.keras and training.json")
    args = p.parse_args()
    training = json.loads((args.out / "training.json").read_text())
    records = data.read_labels(args.data)
    pictures = data.cached_pictures(records, data.SIZE, args.out / "cache")
    model = keras.models.load_model(args.out / "dermis-lite0.keras", compile=False)
    write(figures(model, pictures, records, data.split(records, training["seed"]), training), args.out / "figures.json")


if __name__ == "__main__":
    main()
