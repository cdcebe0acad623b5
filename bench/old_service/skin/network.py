"""The model: loaded at the first photograph and kept. TensorFlow is imported with the program."""
import io
import threading

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from django.conf import settings
from PIL import Image

CLASSES = ["Acne and Rosacea Photos", "Eczema Photos", "Heathy", "Psoriasis pictures Lichen Planus and related diseases",
           "Scabies Lyme Disease and other Infestations and Bites", "Seborrheic Keratoses and other Benign Tumors",
           "Warts Molluscum and other Viral Infections"]
SIZE = (300, 300)
ALPHA = 0.4

_lock = threading.Lock()
_model = _explainer = None


def loaded():
    return _model is not None


def _last_convolution(model):
    return next(layer for layer in reversed(model.layers) if isinstance(layer, keras.layers.Conv2D))


def _get():
    global _model, _explainer
    with _lock:
        if _model is None:
            model = keras.models.load_model(settings.MODEL_PATH, compile=False)
            _explainer = keras.Model(model.inputs, [_last_convolution(model).output, model.outputs[0]])
            _model = model
    return _model, _explainer


def _heat_map(explainer, pixels, winner):
    """Grad-CAM of the winner's probability: 0..1, as large as the convolution's output."""
    with tf.GradientTape() as tape:
        activations, probabilities = explainer(pixels, training=False)
        score = probabilities[:, winner]
    weights = tf.reduce_mean(tape.gradient(score, activations), axis=(1, 2))
    summed = tf.reduce_sum(activations[0] * weights[0], axis=-1).numpy()
    heat = np.maximum(summed, 0)
    if heat.max() == 0:
        heat = np.abs(summed)
    return heat / (heat.max() or 1)


def _overlay(picture, heat):
    grey = Image.fromarray((heat * 255).astype(np.uint8)).resize(SIZE, Image.Resampling.BILINEAR)
    colours = matplotlib.colormaps["jet"](np.asarray(grey))[..., :3]
    out = io.BytesIO()
    Image.blend(picture, Image.fromarray((colours * 255).astype(np.uint8)), ALPHA).save(out, "PNG")
    return out.getvalue()


def look_at(file):
    """[(class, probability)], the likeliest first, and the heat map over the picture as PNG."""
    model, explainer = _get()
    picture = Image.open(file).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, np.float32)[np.newaxis]
    probabilities = model.predict(pixels, verbose=0)[0]
    order = np.argsort(probabilities)[::-1]
    overlay = None
    if settings.ENABLE_GRADCAM:
        overlay = _overlay(picture, _heat_map(explainer, tf.convert_to_tensor(pixels), int(order[0])))
    return [(CLASSES[i], float(probabilities[i])) for i in order[:7]], overlay
