"""What every golden model goes through: photographs, weights that make activations lively, and what
Keras itself answers (probabilities, Grad-CAM by gradient tape, outputs of layers). Works with Keras 3
and, where TF_USE_LEGACY_KERAS is set, with Keras 2 (tf_keras)."""
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it fails on odd numbers of channels
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

LEGACY = os.environ.get("TF_USE_LEGACY_KERAS") == "1"
if LEGACY:
    import tf_keras as keras
else:
    import keras
L = keras.layers


def photographs(folder, count, height, width, channels=3):
    """`count` photographs as float32 [count, h, w, c], 0..255, as dermis decodes them."""
    files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    step = max(1, len(files) // count)
    out = []
    for path in files[::step][:count]:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        if channels == 1:
            image = image.convert("L")
        array = np.asarray(image.resize((width, height), Image.LANCZOS), np.float32)
        out.append(array.reshape(height, width, channels))
    return np.stack(out)


def leaves(model):
    """Layers in the model's own order, nested models entered where they stand: (path, layer)."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            for path, leaf in leaves(layer):
                yield layer.name + "/" + path, leaf
        else:
            yield layer.name, layer


KERNELS = (L.Conv2D, L.DepthwiseConv2D, L.SeparableConv2D, L.Dense)
CAM = (L.Conv2D, L.SeparableConv2D, L.DepthwiseConv2D)


def short(variable):
    return variable.name.split("/")[-1].split(":")[0]


def randomize(model, seed):
    rng = np.random.default_rng(seed)
    for _, layer in leaves(model):
        if isinstance(layer, L.Normalization):
            continue
        for v in layer.weights:
            name, shape = short(v), tuple(v.shape)
            if "seed" in name or "count" in name or not np.issubdtype(np.dtype(v.dtype if isinstance(v.dtype, str) else v.dtype.name), np.floating):
                continue
            if "kernel" in name:
                fan = np.prod(shape[:2]) if "depthwise" in name else np.prod(shape[:-1])
                value = rng.normal(0, np.sqrt(2 / fan), shape)
            elif "variance" in name:
                value = rng.uniform(.5, 2, shape)
            elif "gamma" in name:
                value = rng.normal(1, .25, shape) if "norm" in type(layer).__name__.lower() else rng.uniform(.3, 1, shape)
            elif "alpha" in name:
                value = rng.uniform(.05, .4, shape)
            else:
                value = rng.normal(0, .2, shape)
            v.assign(value.astype(np.float32))


class patched:
    """Replaces `call` of the given layers for a while."""

    def __init__(self, layers, wrap):
        self.layers, self.wrap = layers, wrap

    def __enter__(self):
        self.layers = list(self.layers)
        self.own = [vars(layer).get("call") for layer in self.layers]  # Keras 2's TFOpLambda has one
        for layer in self.layers:
            object.__setattr__(layer, "call", self.wrap(layer, layer.call))

    def __exit__(self, *_):
        for layer, own in zip(self.layers, self.own):
            if own is None:
                object.__delattr__(layer, "call")
            else:
                object.__setattr__(layer, "call", own)


def calibrate(model, images):
    """One pass in the order of layers: each kernel is scaled so that its outputs have unit variance,
    each normalisation takes the statistics that it meets; so nothing saturates or dies."""
    done = set()

    def wrap(layer, call):
        def new(x, *args, **kwargs):
            if id(layer) not in done:
                done.add(id(layer))
                if isinstance(layer, L.BatchNormalization):
                    mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
                    layer.moving_mean.assign(mean)
                    layer.moving_variance.assign(variance + 1e-3)
                else:
                    activation, layer.activation = layer.activation, None
                    y = np.asarray(call(x))
                    layer.activation = activation
                    deviation = float(np.std(y - y.mean(axis=tuple(range(y.ndim - 1)))) if isinstance(layer, L.Conv2D) else np.std(y))
                    kernels = [v for v in layer.weights if "kernel" in short(v)]
                    kernels[-1].assign(np.asarray(kernels[-1]) / max(deviation, 1e-6))
            return call(x, *args, **kwargs)
        return new

    todo = [l for _, l in leaves(model) if isinstance(l, KERNELS + (L.BatchNormalization,))]
    with patched({id(l): l for l in todo}.values(), wrap):
        model(images, training=False)


def answer(model, x):
    """Everything that Keras says of one picture x [1, h, w, c]: outputs of all leaves (last call), the
    network's output, its logits where it ends in softmax or sigmoid, and gradients on demand."""
    outputs = {}
    all_leaves = [(p, l) for p, l in leaves(model)]
    names = {id(l): p for p, l in all_leaves}

    def wrap(layer, call):
        def new(*args, **kwargs):
            if layer is last and isinstance(layer, L.Softmax):
                logits["z"] = tf.identity(args[0])
                args = (logits["z"], *args[1:])
            y = call(*args, **kwargs)
            if isinstance(y, (list, tuple, dict)):
                return y
            outputs[names[id(layer)]] = y = tf.identity(y)
            return y
        return new

    last = model
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    logits = {}
    activation = getattr(last, "activation", None)
    if activation is not None and activation.__name__ in ("softmax", "sigmoid"):
        def record(z, **kwargs):
            logits["z"] = tf.identity(z)
            return activation(logits["z"], **kwargs)
        last.activation = record
    x = tf.constant(x)
    real = {id(l): l for _, l in all_leaves if not isinstance(l, L.InputLayer)}
    with tf.GradientTape(persistent=True) as tape, patched(real.values(), wrap):
        tape.watch(x)
        y = model(x, training=False)
        y = tf.reshape(y, [-1])
        logit = tf.reshape(logits["z"], [-1]) if logits else y
        ys = tf.unstack(y) if y.shape[0] < 64 else None
        zs = tf.unstack(logit) if y.shape[0] < 64 else None
    if logits:
        last.activation = activation
    shapes = {p: outputs[p].shape for p, _ in all_leaves if p in outputs}
    target = [p for p, l in all_leaves if isinstance(l, CAM) and p in outputs
              and outputs[p].shape[1] * outputs[p].shape[2] > 1]

    def gradient(layer, index, score, flip):
        values = ys if score == "probability" else zs
        if values is None:
            with tape:
                value = (y if score == "probability" else logit)[index]
        else:
            value = values[index]
        g = tape.gradient(value, outputs[layer])
        if g is None:
            g = tf.zeros_like(outputs[layer])
        return -g if flip else g

    return np.asarray(y), outputs, (target[-1] if target else None), gradient, shapes


def grad_cam(output, gradient):
    """The map, whether it is blank, and how well its maximum stands out of what cancels."""
    output, gradient = np.asarray(output, np.float64)[0], np.asarray(gradient, np.float64)[0]
    terms = gradient.mean((0, 1)) * output
    total = terms.sum(-1)
    size = np.abs(terms).sum(-1).max()
    m = np.maximum(total, 0)
    if m.max() == 0:
        m = np.abs(total)
    if m.max() == 0:
        return m.astype(np.float32), True, 1.0
    return (m / m.max()).astype(np.float32), False, m.max() / size
