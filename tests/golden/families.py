"""One narrow model of each family of keras.applications: the family's own graph, made by its own code,
with fewer filters and repeats. Each entry: name, function, keywords for make.write."""
import importlib

from lively import LEGACY

ROOT = "tf_keras.src.applications." if LEGACY else "keras.src.applications."


class narrow:
    """For a while the family's module makes its layers with `filters` mapped."""

    def __init__(self, module, filters, units=None, **replaced):
        self.module = importlib.import_module(ROOT + module)
        self.filters, self.units, self.replaced = filters, units or (lambda n: n), replaced

    def __enter__(self):
        family, self.kept = self, dict(vars(self.module))
        original = self.module.VersionAwareLayers() if LEGACY else self.module.layers

        class Layers:
            def __getattr__(self, name):
                made = getattr(original, name)
                if name in ("Conv2D", "SeparableConv2D"):
                    return lambda filters, *a, **k: made(max(1, int(family.filters(filters))), *a, **k)
                if name == "Dense":
                    return lambda units, *a, **k: made(max(1, int(family.units(units))), *a, **k)
                return made

        self.module.layers = Layers()
        if LEGACY:
            self.module.VersionAwareLayers = Layers  # each family's function asks it anew
        for name, make in self.replaced.items():
            setattr(self.module, name, make(self.kept[name]))
        return self.module

    def __exit__(self, *_):
        vars(self.module).update(self.kept)


def efficientnet(classes=6):
    m = importlib.import_module(ROOT + "efficientnet")
    return m.EfficientNet(.12, .3, 64, weights=None, input_shape=(64, 56, 3), classes=classes)


def efficientnet_v2(**keywords):
    m = importlib.import_module(ROOT + "efficientnet_v2")
    blocks = [dict(b, num_repeat=min(2, b["num_repeat"])) for b in m.DEFAULT_BLOCKS_ARGS["efficientnetv2-s"]]
    keywords = {"name": "efficientnetv2-s", **keywords}
    return m.EfficientNetV2(.12, 1.0, 64, blocks_args=blocks, weights=None, input_shape=(75, 75, 3), classes=7,
                            **keywords)


def efficientnet_v2_b0():
    return efficientnet_v2(name="efficientnetv2-b0") if not LEGACY else efficientnet_v2(model_name="efficientnetv2-b0")


def mobilenet():
    with narrow("mobilenet", lambda n: n // 2 if n > 100 else n) as m:
        return m.MobileNet(input_shape=(64, 64, 3), alpha=.25, weights=None, classes=5)


def mobilenet_v2():
    with narrow("mobilenet_v2", lambda n: 96 if n == 1280 else n) as m:
        return m.MobileNetV2(input_shape=(64, 64, 3), alpha=.1, weights=None, classes=5)


def mobilenet_v3_small():
    with narrow("mobilenet_v3", lambda n: 80 if n == 1024 else n) as m:
        return m.MobileNetV3Small(input_shape=(64, 64, 3), alpha=.1, weights=None, classes=5)


def mobilenet_v3_large():
    with narrow("mobilenet_v3", lambda n: 80 if n == 1280 else n) as m:
        return m.MobileNetV3Large(input_shape=(64, 64, 3), alpha=.1, weights=None, classes=5, minimalistic=True)


def resnet(version=1):
    m = importlib.import_module(ROOT + "resnet")
    if LEGACY:
        stack = m.stack1 if version == 1 else m.stack2
    else:
        stack = m.stack_residual_blocks_v1 if version == 1 else m.stack_residual_blocks_v2

    def named(x):
        x = stack(x, 64, 2, name="conv2", **({"stride1": 1} if version == 1 else {}))
        return stack(x, 128, 2, name="conv3", **({} if version == 1 else {"stride1": 1}))

    with narrow("resnet", lambda n: n // 8) as m:
        return m.ResNet(named, version == 2, True, input_shape=(64, 64, 3), weights=None, classes=6)


def densenet():
    with narrow("densenet", lambda n: n // 4) as m:
        return m.DenseNet([2, 3, 3, 2], weights=None, input_shape=(64, 64, 3), classes=5)


def xception():
    with narrow("xception", lambda n: n // 24) as m:
        return m.Xception(weights=None, input_shape=(75, 75, 3), classes=5)


def inception_v3():
    with narrow("inception_v3", lambda n: n // 24) as m:
        return m.InceptionV3(weights=None, input_shape=(75, 75, 3), classes=5)


def inception_resnet_v2():
    def block(original):
        def new(x, scale, block_type, block_idx, activation="relu"):
            last = {"block35": 10, "block17": 20, "block8": 10}[block_type]
            return original(x, scale, block_type, block_idx, activation) if block_idx in (1, last) else x
        return new

    def conv(original):
        def new(x, filters, *args, **kwargs):  # the residual's width is the trunk's: not divided
            up = kwargs.get("activation", "relu") is None
            return original(x, filters * 16 if up else filters, *args, **kwargs)
        return new

    with narrow("inception_resnet_v2", lambda n: n // 16, inception_resnet_block=block, conv2d_bn=conv) as m:
        return m.InceptionResNetV2(weights=None, input_shape=(75, 75, 3), classes=5)


def vgg16():
    with narrow("vgg16", lambda n: n // 16, lambda n: 48 if n == 4096 else n) as m:
        return m.VGG16(weights=None, input_shape=(64, 64, 3), classes=5)


def nasnet():
    m = importlib.import_module(ROOT + "nasnet")
    return m.NASNet(input_shape=(64, 64, 3), penultimate_filters=96, num_blocks=1, stem_block_filters=8,
                    weights=None, classes=5, default_size=64)


def convnext(**keywords):
    m = importlib.import_module(ROOT + "convnext")
    return m.ConvNeXt([1, 1, 2, 1], [8, 16, 24, 32], weights=None, input_shape=(64, 64, 3), classes=5,
                      **(keywords or {"name": "convnext_tiny"}))


FAMILIES = [
    ("efficientnet-b", efficientnet, {}),
    ("efficientnet-v2-s", efficientnet_v2, {}),
    ("efficientnet-v2-b0", efficientnet_v2_b0, {}),
    ("mobilenet", mobilenet, {"preprocess": "-1..1"}),
    ("mobilenet-v2", mobilenet_v2, {"preprocess": "-1..1"}),
    ("mobilenet-v3-small", mobilenet_v3_small, {}),
    ("mobilenet-v3-large", mobilenet_v3_large, {}),
    ("resnet", lambda: resnet(1), {"preprocess": "caffe"}),
    ("resnet-v2", lambda: resnet(2), {"preprocess": "-1..1"}),
    ("densenet", densenet, {"preprocess": "torch"}),
    ("xception", xception, {"preprocess": "-1..1"}),
    ("inception-v3", inception_v3, {"preprocess": "-1..1"}),
    ("inception-resnet-v2", inception_resnet_v2, {"preprocess": "-1..1"}),
    ("vgg16", vgg16, {"preprocess": "caffe"}),
    ("nasnet", nasnet, {"preprocess": "-1..1"}),
    ("convnext", convnext, {}),
]
LEGACY_FAMILIES = [
    ("keras2-efficientnet-b", efficientnet, {"format": "keras"}),
    ("keras2-mobilenet-v3-small", mobilenet_v3_small, {"format": "keras"}),
    ("keras2-inception-resnet-v2", inception_resnet_v2, {"format": "keras", "preprocess": "-1..1"}),
    ("keras2-convnext-h5", lambda: convnext(model_name="convnext_tiny"), {"format": "h5"}),
    ("keras2-resnet-h5", lambda: resnet(1), {"format": "h5", "preprocess": "caffe"}),
]
