"""Trains the bundled model: EfficientNet-Lite0 from ImageNet weights, on PAD-UFES-20 and ISIC 2017.

Writes OUT/dermis-lite0.keras (softmax at the end, input 224x224x3 with values 0..255) and OUT/figures.json.
Every choice is made on the training part; the test part is looked at once, at the end, by evaluate.py.
"""
import argparse
import collections
import json
import math
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

import data
import evaluate
import lite0

BATCH = 32
SMOOTHING = .05
HEAD_RATE, RATE, DECAY = 2e-3, 3e-4, .02


def say(*words):
    print(*words, flush=True)


def copy_weights(source, target):
    for layer in source.layers:
        target.get_layer(layer.name).set_weights(layer.get_weights())


def save(model, path):
    """Under its name at once or not at all: others may be waiting for it."""
    part = path.with_name("part-" + path.name)
    model.save(part)
    part.replace(path)


def make_step(model, variables, optimizer):
    optimizer.build(variables)
    classes = len(data.CLASSES)

    @tf.function
    def step(x, y):
        target = tf.one_hot(y, classes) * (1 - SMOOTHING) + SMOOTHING / classes
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            logits = model(x, training=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        hit = tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == tf.cast(y, tf.int64), tf.float32))
        return loss, hit

    return step


def run_epoch(step, pictures, records, seed, epoch, name):
    begun, loss, hit, n = time.time(), 0.0, 0.0, 0
    for x, y in data.batches(pictures, records, BATCH, seed, epoch):
        a, b = step(tf.constant(x), tf.constant(y))
        loss, hit, n = loss + float(a), hit + float(b), n + 1
        if n == 10:
            say(f"  {(time.time() - begun) / n:.2f} s a batch, {len(records) // BATCH} batches")
    say(f"{name}: loss {loss / n:.3f}, drawn views right {hit / n:.3f}, {time.time() - begun:.0f} s")


def train(args, pictures, records):
    model = lite0.build(len(data.CLASSES), frozen_statistics=True, softmax=False)
    lite0.port(model, lite0.read_weights(lite0.weights_path()))

    optimizer = keras.optimizers.AdamW(HEAD_RATE, weight_decay=DECAY)
    step = make_step(model, model.get_layer("classes").trainable_variables, optimizer)
    for e in range(args.head_epochs):
        run_epoch(step, pictures, records, args.seed, e, f"head {e + 1}/{args.head_epochs}")

    total = max(1, args.epochs * (len(records) // BATCH))
    optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(RATE, total), weight_decay=DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    step = make_step(model, model.trainable_variables, optimizer)
    for e in range(args.epochs):
        run_epoch(step, pictures, records, args.seed, args.head_epochs + e, f"epoch {e + 1}/{args.epochs}")
    return model


def main():
    here = Path(__file__).resolve().parent
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default=here / "../shared/data", help="folder with pad-ufes-20 and isic-2017")
    p.add_argument("--out", type=Path, default=here / "out")
    p.add_argument("--epochs", type=int, default=12)
    p.add_argument("--head-epochs", type=int, default=2)
    p.add_argument("--seed", type=int, default=20170)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--untrained", action="store_true", help="only port, check and save with an untrained last layer")
    args = p.parse_args()

    begun = time.time()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    records = data.read_labels(args.data)
    parts = data.split(records, args.seed)
    say("photographs:", dict(collections.Counter(zip((r.source for r in records), parts))))
    whole = data.cached_pictures(records, data.SIZE, args.out / "cache")

    ported = lite0.build(len(data.CLASSES))
    lite0.port(ported, lite0.read_weights(lite0.weights_path()))
    found = lite0.check_port(ported, whole[::29][:64])
    later = list(found.values())
    say(f"port: correlation of means least {min(later):.3f}, median {np.median(later):.3f}")
    if np.median(later) < .9 or min(later) < .8:
        raise SystemExit("the port of the starting weights is wrong")
    if args.untrained:
        save(ported, args.out / "dermis-lite0-untrained.keras")
        return

    chosen = [i for i, part in enumerate(parts) if part == "train"]
    stored = data.cached_pictures(records, data.STORED, args.out / "cache")
    trained = train(args, stored[chosen], [records[i] for i in chosen])

    final = lite0.build(len(data.CLASSES))
    copy_weights(trained, final)
    save(final, args.out / "dermis-lite0.keras")
    training = {"seed": args.seed, "epochs": args.epochs, "head_epochs": args.head_epochs,
                "seconds": round(time.time() - begun),
                "port_correlation": {"least": round(min(later), 4), "median": round(float(np.median(later)), 4)}}
    (args.out / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    figures = evaluate.figures(final, whole, records, parts, training)
    evaluate.write(figures, args.out / "figures.json")
    say(f"done in {math.ceil((time.time() - begun) / 60)} minutes")


if __name__ == "__main__":
    main()
