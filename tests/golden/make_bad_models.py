#!/usr/bin/env python3
"""Writes tests/golden/import: tiny Keras models, one good in each container and many that are wrong
in one thing. Needs h5py and numpy only (no Keras: the configurations are written by hand, so that
they can be wrong). tests/test_import.c says what each must answer.

usage: make_bad_models.py [FOLDER]
"""
import copy
import io
import json
import os
import sys
import zipfile

import h5py
import numpy as np

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "import")


def tensor(layer):
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [layer, 0, 0]}}


def layer(class_name, name, source, **config):
    config = {"name": name, "trainable": True, **config}
    node = [{"args": [tensor(source)], "kwargs": {}}] if source else []
    return {"module": "keras.layers", "class_name": class_name, "config": config, "name": name,
            "inbound_nodes": node}


def config():
    return {
        "module": "keras", "class_name": "Functional",
        "config": {
            "name": "tiny",
            "layers": [
                layer("InputLayer", "in", None, batch_shape=[None, 8, 8, 3]),
                layer("Rescaling", "scale", "in", scale=1 / 128, offset=-1.0),
                layer("Conv2D", "conv", "scale", filters=2, kernel_size=[1, 1], strides=[1, 1],
                      padding="same", activation="linear", use_bias=True),
                layer("BatchNormalization", "bn", "conv", axis=-1, epsilon=0.0),
                layer("ReLU", "act", "bn", max_value=None),
                layer("GlobalAveragePooling2D", "pool", "act"),
                layer("Dense", "dense", "pool", units=2, activation="softmax", use_bias=True),
            ],
            "input_layers": [["in", 0, 0]], "output_layers": [["dense", 0, 0]],
        },
    }


def weights():
    return {
        "conv2d": [np.array([[[[1, 2], [3, 4], [5, 6]]]], "f4"), np.array([0.5, -0.5], "f4")],
        "batch_normalization": [np.array([2, 3], "f4"), np.array([0.25, 0.75], "f4"),
                                np.array([1, -1], "f4"), np.array([4, 0.25], "f4")],
        "dense": [np.array([[1, -1], [0.5, 2]], "f4"), np.array([0.1, 0.2], "f4")],
    }


def hdf5(arrays, change=None, **options):
    data = io.BytesIO()
    with h5py.File(data, "w", libver=("earliest", "v110")) as f:
        for name, values in arrays.items():
            for i, v in enumerate(values):
                f.create_dataset(f"layers/{name}/vars/{i}", data=v, **options)
        if change:
            change(f)
    return data.getvalue()


def keras(name, cfg=None, data=None, entries=None):
    entries = entries or {"metadata.json": json.dumps({"keras_version": "3.8.0"}),
                          "config.json": json.dumps(cfg or config()),
                          "model.weights.h5": data or hdf5(weights())}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
        for entry, content in entries.items():
            z.writestr(zipfile.ZipInfo(entry, (2020, 1, 1, 0, 0, 0)), content,
                       compress_type=zipfile.ZIP_DEFLATED)
    put(name, buffer.getvalue())
    return buffer.getvalue()


def put(name, data):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)


def legacy():
    names = {"conv": ["kernel", "bias"], "bn": ["gamma", "beta", "moving_mean", "moving_variance"],
             "dense": ["kernel", "bias"]}
    data = io.BytesIO()
    with h5py.File(data, "w", libver=("earliest", "v110")) as f:
        f.attrs["model_config"] = json.dumps(config())
        f.attrs["keras_version"] = "2.15.0"
        for (name, variables), values in zip(names.items(), weights().values()):
            g = f.create_group(f"model_weights/{name}")
            g.attrs["weight_names"] = [f"{name}/{v}:0".encode() for v in variables]
            for v, value in zip(variables, values):
                g.create_dataset(f"{name}/{v}:0", data=value, chunks=value.shape,
                                 compression="gzip", shuffle=True)
    return data.getvalue()


def changed(path, value):
    c = config()
    at = c
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return c


def conv(**arguments):
    c = config()
    c["config"]["layers"][2]["config"].update(arguments)
    return c


def dense(units):
    c = config()
    c["config"]["layers"][6]["config"].update(units=units, activation="linear")
    return c


def instead(class_name, **config_of):
    """The ReLU layer replaced by another class."""
    c = config()
    c["config"]["layers"][4] = layer(class_name, "odd", "bn", **config_of)
    c["config"]["layers"][5]["inbound_nodes"][0]["args"] = [tensor("odd")]
    return c


def with_kernel(value):
    w = weights()
    w["conv2d"][0] = value
    return hdf5(w)


def replace_kernel(make):
    w = weights()
    w["conv2d"] = [None, w["conv2d"][1]]

    def change(f):
        make(f)
    rest = {k: v for k, v in w.items() if k != "conv2d"}

    def both(f):
        f.create_dataset("layers/conv2d/vars/1", data=w["conv2d"][1])
        change(f)
    return hdf5(rest, both)


PLACE = "layers/conv2d/vars/0"
SHAPE = (1, 1, 3, 2)


def external(f):
    f.create_dataset(PLACE, SHAPE, "f4", external=[("/etc/hostname", 0, 24)])


def virtual(f):
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[...] = h5py.VirtualSource("other.h5", "data", SHAPE)
    f.create_virtual_dataset(PLACE, layout)


def soft(f):
    f.create_dataset("elsewhere", data=weights()["conv2d"][0])
    f[PLACE] = h5py.SoftLink("/elsewhere")


def outside(f):
    f[PLACE] = h5py.ExternalLink("other.h5", "/data")


def filtered(f):
    f.create_dataset(PLACE, data=weights()["conv2d"][0], chunks=SHAPE, compression="lzf")


def group(f):
    f.create_group(PLACE)


def main():
    os.makedirs(OUT, exist_ok=True)
    good = keras("good.keras")
    old = legacy()
    put("good.h5", old)
    put("good_hdf5.keras", old)
    keras("half.keras", data=with_kernel(weights()["conv2d"][0].astype("f2")))
    keras("scores.keras", cfg=dense(2), data=hdf5(weights()))  # no activation at the end
    keras("score.keras", cfg=dense(1), data=hdf5({**weights(), "dense": [np.array([[1], [0.5]], "f4"), np.array([0.1], "f4")]}))
    put("truncated.keras", good[:len(good) // 2])
    put("truncated.h5", old[:len(old) // 2])
    put("text.keras", b"a model, I promise\n")
    put("empty.keras", b"")
    damaged = bytearray(good)
    at = damaged.find(b"model.weights.h5") + 200
    damaged[at:at + 16] = bytes(16)
    put("damaged.keras", bytes(damaged))

    keras("no_config.keras", entries={"metadata.json": "{}"})
    keras("bad_json.keras", entries={"config.json": "{\"class_name\": ", "model.weights.h5": b"x"})
    keras("deep_json.keras", entries={"config.json": "[" * 100000, "model.weights.h5": b"x"})
    keras("not_hdf5.keras", data=b"not HDF5 at all" * 10)

    keras("nan.keras", data=with_kernel(np.full(SHAPE, np.nan, "f4")))
    keras("infinite.keras", data=with_kernel(np.full(SHAPE, np.inf, "f4")))
    keras("large.keras", data=with_kernel(np.full(SHAPE, 1e9, "f4")))
    keras("integers.keras", data=with_kernel(np.ones(SHAPE, "i4")))
    keras("shape.keras", data=with_kernel(np.ones((1, 1, 3, 4), "f4")))
    keras("filters.keras", cfg=conv(filters=16777216))
    keras("terabytes.keras", cfg=conv(filters=16777216, kernel_size=[8192, 8192]))
    keras("negative.keras", cfg=conv(filters=-2))
    keras("wrong_type.keras", cfg=conv(filters="two"))
    keras("channels_first.keras", cfg=conv(data_format="channels_first"))
    w = weights()
    del w["conv2d"]
    keras("missing.keras", data=hdf5(w))
    for name, make in (("external", external), ("virtual", virtual), ("soft_link", soft),
                       ("external_link", outside), ("filter", filtered), ("group", group)):
        keras(name + ".keras", data=replace_kernel(make))
    w = weights()
    w["batch_normalization"][3][0] = -1
    keras("variance.keras", data=hdf5(w))

    keras("lambda.keras", cfg=instead("Lambda", function={"class_name": "__lambda__",
                                                          "config": {"code": "4wEAAAA="}}))
    keras("custom.keras", cfg=instead("MyAttention"))
    keras("lstm.keras", cfg=instead("LSTM", units=4))
    keras("activation.keras", cfg=instead("Activation", activation="my_activation"))
    keras("subclass.keras", cfg={"class_name": "MyModel", "config": {"units": 3}})

    two = config()
    two["config"]["layers"].insert(1, layer("InputLayer", "in2", None,
                                            batch_shape=[None, 8, 8, 3]))
    two["config"]["input_layers"] = [["in", 0, 0], ["in2", 0, 0]]
    keras("two_inputs.keras", cfg=two)
    two = config()
    two["config"]["output_layers"] = [["dense", 0, 0], ["pool", 0, 0]]
    keras("two_outputs.keras", cfg=two)
    cycle = config()
    cycle["config"]["layers"][2]["inbound_nodes"][0]["args"] = [tensor("act")]
    keras("cycle.keras", cfg=cycle)
    unknown = config()
    unknown["config"]["layers"][2]["inbound_nodes"][0]["args"] = [tensor("nobody")]
    keras("unknown_input.keras", cfg=unknown)
    keras("free_size.keras",
          cfg=changed(["config", "layers", 0, "config", "batch_shape"], [None, None, None, 3]))
    keras("vector_input.keras",
          cfg=changed(["config", "layers", 0, "config", "batch_shape"], [None, 24]))
    nested = config()
    for _ in range(40):
        inner = copy.deepcopy(nested)
        nested = {"class_name": "Sequential",
                  "config": {"name": "outer", "layers": [inner]}}
    keras("deep_models.keras", cfg=nested)
    noscale = config()
    noscale["config"]["layers"][1] = layer("Dropout", "scale", "in", rate=0.1)
    keras("no_scaling.keras", cfg=noscale)
    put("card.json", json.dumps({"classes": [
        {"code": "A", "name": {"en": "first", "vi": "một"}, "urgency": "weeks"},
        {"name": {"en": "second", "vi": "hai"}}]}, ensure_ascii=False).encode())


if __name__ == "__main__":
    main()
