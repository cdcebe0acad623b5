"""Small models made by hand: what people put between and above the families' layers, each variant of a
layer that the importer must know."""
import numpy as np

from lively import L, LEGACY, keras

Input, Model, Sequential = keras.Input, keras.Model, keras.Sequential


def head(x, classes=4, activation="softmax"):
    return L.Dense(classes, activation=activation, name="answer")(L.GlobalAveragePooling2D()(x))


def sequential():
    return Sequential([
        Input((40, 48, 3)), L.Rescaling(1 / 255), L.Conv2D(8, 3, activation="relu"), L.MaxPooling2D(),
        L.Conv2D(12, 3, padding="same", activation="relu"), L.MaxPooling2D(2, padding="same"), L.Flatten(),
        L.Dense(16, activation="relu"), L.Dropout(.5), L.Dense(7, activation="softmax")])


def backbone(width=8):
    x = i = Input((48, 48, 3), name="picture")
    x = L.Rescaling(1 / 127.5, offset=-1)(x)
    for n, stride in ((width, 2), (2 * width, 1), (3 * width, 2)):
        y = L.Conv2D(n, 3, strides=stride, padding="same", use_bias=False)(x)
        y = L.BatchNormalization()(y)
        y = L.Activation("swish")(y)
        x = y
    return Model(i, x, name="backbone")


def nested(top="max", outer=False):
    """A backbone as a layer, augmentation before it, a head of one's own."""
    inner = backbone() if top != "flatten" else backbone(4)
    i = Input((48, 48, 3))
    x = L.RandomFlip("horizontal")(i)
    x = L.RandomRotation(.1)(x)
    x = L.RandomZoom(.1)(x)
    x = L.RandomContrast(.1)(x)
    x = inner(x)
    x = {"max": L.GlobalMaxPooling2D(), "flatten": L.Flatten(), "average": L.GlobalAveragePooling2D()}[top](x)
    x = L.Dense(16, activation="relu")(x)
    x = L.BatchNormalization()(x)
    x = L.Dropout(.3)(x)
    x = L.Dense(7, activation="softmax")(x)
    model = Model(i, x)
    if outer:
        i = Input((48, 48, 3))
        model = Model(i, model(i), name="outer")
    return model


def nested_sequential():
    augment = Sequential([L.RandomFlip("horizontal"), L.RandomRotation(.2)], name="augment")
    return Sequential([Input((48, 48, 3)), augment, backbone(), L.Flatten(), L.Dense(12, activation="relu"),
                       L.BatchNormalization(scale=False), L.Dropout(.2), L.Dense(5, activation="softmax")])


def shared():
    """One convolution and one normalisation called three times, a nested model called twice."""
    i = Input((32, 32, 3))
    x = L.Rescaling(1 / 255)(i)
    x = L.Conv2D(8, 1)(x)
    conv, norm = L.Conv2D(8, 3, padding="same", name="shared_conv"), L.BatchNormalization(name="shared_norm")
    for _ in range(3):
        x = L.ReLU()(norm(conv(x)))
    j = Input((None, None, 8))
    block = Model(j, L.Activation("tanh")(L.Conv2D(8, 3, padding="same", name="inner")(j)), name="block")
    y = L.Add()([block(x), block(block(x))])
    return Model(i, head(y))


def convolutions():
    """Every kind of convolution: stride, dilation, groups, multiplier, padding, kernels not square."""
    i = Input((45, 38, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(i)
    x = L.Conv2D(8, (3, 5), strides=(2, 1), padding="same", activation="relu")(x)
    x = L.Conv2D(12, (2, 3), dilation_rate=(2, 1), padding="valid")(x)
    x = L.Conv2D(12, 3, groups=4, padding="same", activation="elu")(x)
    x = L.Conv2D(24, 3, groups=3, strides=2)(x)
    x = L.LeakyReLU()(x)
    x = L.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = L.DepthwiseConv2D((5, 3), padding="same", dilation_rate=2, activation="tanh")(x)
    x = L.SeparableConv2D(20, 3, padding="same", depth_multiplier=2, use_bias=False)(x)
    x = L.BatchNormalization(center=False)(x)
    x = L.SeparableConv2D(18, (3, 1), strides=1, padding="valid", activation="relu")(x)
    return Model(i, head(x))


def convolutions_even():
    """Even kernels and strides, where `same` pads more behind than before."""
    i = Input((37, 50, 3))
    x = L.Rescaling(1 / 255)(i)
    x = L.Conv2D(6, 4, strides=3, padding="same")(x)
    x = L.DepthwiseConv2D(4, strides=2, padding="same", depth_multiplier=3, activation="relu")(x)
    x = L.Conv2D(17, 2, padding="same", activation="sigmoid")(x)
    x = L.SeparableConv2D(15, 2, strides=2, padding="valid")(x)
    return Model(i, head(x, 3))


def pooling():
    i = Input((43, 38, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(i)
    x = L.Conv2D(8, 3)(x)
    a = L.MaxPooling2D(3, strides=2, padding="same")(x)
    b = L.AveragePooling2D(3, strides=2, padding="same")(x)
    x = L.Concatenate()([a, b])
    a = L.MaxPooling2D((2, 3), strides=1, padding="valid")(x)
    b = L.AveragePooling2D((2, 3), strides=1, padding="valid")(x)
    x = L.Add()([a, b])
    x = L.Conv2D(10, 3)(x)
    x = L.AveragePooling2D(2, padding="same")(x)
    x = L.MaxPooling2D(2)(x)
    a, b = L.GlobalMaxPooling2D(keepdims=True)(x), L.GlobalAveragePooling2D(keepdims=True)(x)
    x = L.Flatten()(L.Concatenate()([a, b]))
    return Model(i, L.Dense(5, activation="softmax")(x))


def layer_norm():
    i = Input((32, 40, 3))
    x = L.Rescaling(1 / 255)(i)
    x = L.Conv2D(16, 4, strides=4)(x)
    x = L.LayerNormalization(epsilon=1e-6)(x)
    y = L.Conv2D(16, 7, padding="same", groups=16)(x)
    y = L.LayerNormalization(center=False)(y)
    y = L.Dense(32, activation="gelu")(y)
    y = L.Dense(16)(y)
    x = L.Add()([x, y])
    x = L.GlobalAveragePooling2D()(x)
    x = L.LayerNormalization(scale=False)(x)
    return Model(i, L.Dense(4, activation="softmax")(x))


def concatenate():
    i = Input((30, 34, 3))
    x = L.Rescaling(1 / 255)(i)
    a, b = L.Conv2D(6, 3, strides=2)(x), L.Conv2D(6, 3, strides=2, activation="relu")(x)
    x = L.Concatenate(axis=1)([a, b])
    y = L.Concatenate(axis=2)([x, x])
    y = L.Conv2D(7, 3, strides=2, padding="same")(y)
    z = L.Concatenate(axis=-1)([y, L.Activation("relu")(y), y])
    z = L.Conv2D(9, 1)(z)
    return Model(i, head(L.Concatenate(axis=3)([z, y])))


def arithmetic():
    i = Input((32, 32, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(i)
    a, b = L.Conv2D(8, 3, padding="same")(x), L.Conv2D(8, 5, padding="same")(x)
    parts = [L.Add()([a, b, a]), L.Multiply()([a, b]), L.Subtract()([a, b]), L.Average()([a, b, b]), L.Maximum()([a, b]),
             L.Minimum()([a, b])]
    x = L.Concatenate()(parts)
    g = L.Dense(48, activation="sigmoid")(L.GlobalAveragePooling2D()(x))
    x = L.Multiply()([x, L.Reshape((1, 1, 48))(g)])
    x = L.Conv2D(10, 3, strides=2)(x)
    y = L.Multiply()([L.Add()([x, L.Activation("tanh")(x)]), L.Activation("sigmoid")(x)])
    return Model(i, head(y))


def reshape():
    i = Input((24, 20, 3))
    x = L.Rescaling(1 / 255)(i)
    x = L.Conv2D(8, 3, strides=2)(x)
    x = L.Reshape((99, 8))(x)
    x = L.Dense(6, activation="relu")(x)
    x = L.Reshape((11, 9, 6))(x)
    x = L.Conv2D(6, 3)(x)
    x = L.GlobalAveragePooling2D(keepdims=True)(x)
    x = L.Permute((3, 1, 2))(x)
    x = L.Flatten()(x)
    x = L.Reshape((-1,))(x)
    return Model(i, L.Dense(4, activation="softmax")(x))


def padding():
    i = Input((33, 30, 3))
    x = L.Rescaling([1 / 127.5, 1 / 120., 1 / 130.], offset=[-1., -.9, -1.1])(i)
    x = L.ZeroPadding2D(((1, 2), (3, 0)))(x)
    x = L.Conv2D(8, 3, strides=2)(x)
    x = L.Cropping2D(((1, 0), (2, 1)))(x)
    x = L.UpSampling2D(2)(x)
    x = L.Conv2D(8, 3)(x)
    x = L.ZeroPadding2D(1)(x)
    x = L.MaxPooling2D(2)(x)
    x = L.UpSampling2D((2, 1), interpolation="bilinear")(x)
    x = L.Conv2D(8, 3, activation="relu")(x)
    return Model(i, head(x))


def resizing():
    i = Input((50, 44, 3))
    x = L.Resizing(32, 30)(i)
    x = L.Normalization(mean=[120., 110., 100.], variance=[3600., 3000., 2500.])(x)
    x = L.Conv2D(8, 3)(x)
    x = L.Resizing(41, 17, interpolation="nearest")(x)
    x = L.Conv2D(8, 3, activation="relu")(x)
    return Model(i, head(x))


def normalization():
    layer = L.Normalization(axis=-1)
    rng = np.random.default_rng(5)
    layer.adapt(rng.normal(120, 50, (64, 4, 4, 3)).astype(np.float32))
    i = Input((32, 32, 3))
    x = L.Conv2D(8, 3, strides=2, activation="relu")(layer(L.Rescaling(1.)(i)))
    return Model(i, head(x))


def parametric():
    i = Input((32, 28, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(i)
    x = L.LeakyReLU(**({"alpha": .1} if LEGACY else {"negative_slope": .1}))(L.Conv2D(8, 3)(x))
    x = L.PReLU(shared_axes=[1, 2])(L.Conv2D(8, 3, strides=2)(x))
    x = L.PReLU()(L.Conv2D(6, 3)(x))
    x = L.ELU(alpha=.7)(L.Conv2D(8, 3)(x))
    x = L.ReLU(max_value=1.5, negative_slope=.1, threshold=.2)(L.Conv2D(8, 3)(x))
    x = L.ReLU(6.)(L.Conv2D(8, 1)(x))
    return Model(i, head(x))


def activations():
    names = ["relu", "relu6", "sigmoid", "silu", "swish", "tanh", "gelu", "elu", "selu", "softplus", "softsign",
             "exponential", "hard_sigmoid", "hard_silu", "hard_swish", "leaky_relu", "linear", "mish", "log_softmax",
             "softmax", "celu", "glu", "hard_tanh", "hard_shrink", "log_sigmoid", "soft_shrink", "sparse_plus",
             "squareplus", "tanh_shrink", "threshold", "sparsemax"]
    if LEGACY:
        names = ["relu", "sigmoid", "swish", "tanh", "gelu", "elu", "selu", "softplus", "softsign", "exponential",
                 "hard_sigmoid", "linear", "mish", "softmax"]
    # glu halves the channels and threshold has no plain name. Keras 3.8's sparsemax is not the one of its
    # paper where two or more elements are in the support (it adds up the cumulative sums): dermis keeps
    # the paper's, so there is nothing to compare with.
    skip = {"glu", "threshold", "sparsemax"}
    i = Input((24, 24, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(i)
    parts = []
    for name in names:
        try:
            if name not in skip:
                parts.append(L.Activation(name, name="act_" + name)(L.Conv2D(4, 3, strides=4)(x)))
        except ValueError:
            print("no such activation here:", name)
    x = L.Concatenate()(parts)
    x = L.Conv2D(12, 3, padding="same")(x)
    return Model(i, head(x))


def tail_activations():
    """Differentiable activations behind the last convolution."""
    i = Input((24, 24, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(i)
    x = L.Conv2D(16, 3, strides=2)(x)
    y = [L.Activation(n)(x) for n in ("gelu", "selu", "softplus", "hard_sigmoid", "exponential", "softsign", "swish")]
    x = L.Concatenate()(y + [L.LeakyReLU()(x), L.ELU()(x), L.Softmax()(x)])
    x = L.MaxPooling2D(2)(x)
    x = L.AveragePooling2D(2, padding="same")(x)
    x = L.Flatten()(x)
    return Model(i, L.Dense(4, activation="softmax")(L.Dense(12, activation="tanh")(x)))


def operations(reverse=True):
    """Bare arithmetic on tensors (Keras 3's operation nodes, Keras 2's TFOpLambda)."""
    i = Input((32, 30, 3))
    x = i / 127.5 - 1.
    x = x[..., ::-1] if reverse else x
    x = L.Conv2D(8, 3)(x)
    y = 2. * x + 1.
    y = y - 0.5
    z = 1. - L.Activation("sigmoid")(x)
    x = L.Conv2D(8, 3, strides=2)(y * z)
    x = x + L.Activation("relu")(x)
    return Model(i, head(x))


def preprocess(mode):
    def build():
        i = Input((32, 32, 3))
        family = {"caffe": keras.applications.resnet50, "tf": keras.applications.mobilenet_v2,
                  "torch": keras.applications.densenet}[mode]
        x = family.preprocess_input(i)
        x = L.Conv2D(8, 3, strides=2, activation="relu")(x)
        x = L.Conv2D(8, 3)(x)
        return Model(i, head(L.BatchNormalization()(x)))
    return build


def sigmoid_one():
    x = backbone()
    return Model(x.inputs, head(x.outputs[0], 1, "sigmoid"))


def sigmoid_many():
    x = backbone()
    return Model(x.inputs, head(x.outputs[0], 5, "sigmoid"))


def separate_softmax():
    x = backbone()
    return Model(x.inputs, L.Softmax()(head(x.outputs[0], 5, None)))


def many_classes():
    x = backbone()
    return Model(x.inputs, head(x.outputs[0], 300))


def grey():
    i = Input((32, 32, 1))
    x = L.Rescaling(1 / 255)(i)
    x = L.Conv2D(8, 3, activation="relu")(x)
    x = L.Conv2D(8, 3, strides=2, activation="relu")(x)
    return Model(i, head(x, 2))


def activation_then_norm():
    """The last convolution has an activation of its own, before the normalisation."""
    i = Input((32, 36, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(i)
    x = L.Conv2D(12, 3, strides=2, activation="relu")(x)
    x = L.BatchNormalization()(x)
    x = L.Conv2D(12, 3, strides=2, activation="relu")(x)
    x = L.BatchNormalization()(x)
    x = L.Activation("relu")(x)
    return Model(i, head(x))


def norm_after_pool():
    """Normalisations that stand behind a pooling, a concatenation and a padding: not foldable there."""
    i = Input((32, 36, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(i)
    x = L.BatchNormalization()(x)
    x = L.ZeroPadding2D(1)(L.BatchNormalization()(L.Conv2D(12, 3, strides=2)(x)))
    x = L.Conv2D(12, 3)(x)
    x = L.MaxPooling2D(2)(x)
    x = L.BatchNormalization()(x)
    x = L.Concatenate()([x, L.Activation("relu")(x)])
    x = L.BatchNormalization()(x)
    x = L.GlobalAveragePooling2D()(x)
    x = L.BatchNormalization()(x)
    return Model(i, L.Dense(4, activation="softmax")(x))


def used_twice():
    """A convolution whose output goes both through a normalisation and past it."""
    i = Input((32, 32, 3))
    x = L.Conv2D(10, 3, strides=2)(L.Rescaling(1 / 255)(i))
    y = L.BatchNormalization()(x)
    return Model(i, head(L.Add()([L.Activation("relu")(y), x])))


def blank():
    """The gradient is exactly zero: behind the convolution stands a constant."""
    i = Input((24, 24, 3))
    x = L.Conv2D(6, 3, strides=2)(L.Rescaling(1 / 255)(i))
    x = L.Rescaling(0., offset=1.)(x)
    return Model(i, head(x))


def half():
    i = Input((40, 40, 3))
    x = L.Rescaling(1 / 127.5, offset=-1)(i)
    x = L.Conv2D(16, 3, strides=2, activation="relu")(x)
    x = L.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = L.Conv2D(24, 1, activation="swish")(x)
    x = L.Conv2D(20, 3, strides=2, padding="same", activation="relu")(x)
    return Model(i, head(x))


def named():
    """Names that differ from what Keras counts, a class used many times."""
    i = Input((24, 24, 3))
    x = L.Conv2D(6, 3, name="zebra")(L.Rescaling(1 / 255)(i))
    x = L.Conv2D(6, 3, name="conv2d_7", activation="relu")(x)
    x = L.Conv2D(6, 3, name="conv2d", activation="relu")(x)
    for n in range(11):
        x = L.Conv2D(6, 1, name=f"a{11 - n}", activation="tanh")(x)
    return Model(i, head(x))


MODELS = [
    ("sequential", sequential, {}),
    ("sequential-h5", sequential, {"format": "h5"}),
    ("sequential-h5-named-keras", sequential, {"format": "h5 named keras"}),
    ("nested-max", nested, {}),
    ("nested-flatten-h5", lambda: nested("flatten"), {"format": "h5"}),
    ("nested-twice", lambda: nested("average", True), {}),
    ("nested-sequential", nested_sequential, {}),
    ("shared", shared, {}),
    ("shared-h5", shared, {"format": "h5"}),
    ("convolutions", convolutions, {}),
    ("convolutions-even", convolutions_even, {}),
    ("pooling", pooling, {}),
    ("layer-norm", layer_norm, {}),
    ("concatenate", concatenate, {}),
    ("arithmetic", arithmetic, {}),
    ("reshape", reshape, {}),
    ("padding", padding, {}),
    ("resizing", resizing, {}),
    ("normalization", normalization, {}),
    ("parametric", parametric, {}),
    ("activations", activations, {}),
    ("tail-activations", tail_activations, {}),
    ("operations", operations, {}),
    ("preprocess-caffe", preprocess("caffe"), {}),
    ("preprocess-tf", preprocess("tf"), {}),
    ("preprocess-torch", preprocess("torch"), {}),
    ("sigmoid-one", sigmoid_one, {}),
    ("sigmoid-many", sigmoid_many, {}),
    ("separate-softmax", separate_softmax, {}),
    ("many-classes", many_classes, {}),
    ("grey", grey, {}),
    ("activation-then-norm", activation_then_norm, {}),
    ("norm-after-pool", norm_after_pool, {}),
    ("used-twice", used_twice, {}),
    ("blank", blank, {"blank": True}),
    ("half", half, {"type": "f16"}),
    ("named", named, {}),
]
LEGACY_MODELS = [
    ("keras2-sequential", sequential, {"format": "keras"}),
    ("keras2-sequential-h5", sequential, {"format": "h5"}),
    ("keras2-sequential-named-keras", sequential, {"format": "h5 named keras"}),
    ("keras2-nested", nested, {"format": "keras"}),
    ("keras2-nested-h5", nested, {"format": "h5"}),
    ("keras2-shared", shared, {"format": "keras"}),
    ("keras2-operations", lambda: operations(False), {"format": "keras"}),
    ("keras2-operations-h5", operations, {"format": "h5"}),
    ("keras2-preprocess-caffe-h5", preprocess("caffe"), {"format": "h5"}),
    ("keras2-activations", activations, {"format": "keras"}),
    ("keras2-named", named, {"format": "keras"}),
]
