"""Exports a Keras model for the peers: export.py MODEL.keras OUT.onnx OUT.tflite"""
import sys
import tempfile

import keras
import tensorflow as tf
import tf2onnx

model_path, onnx_path, tflite_path = sys.argv[1:]
model = keras.models.load_model(model_path, compile=False)
shape = (1, *model.input_shape[1:])
function = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec(shape, tf.float32, "input")])
tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=17, output_path=onnx_path)
with tempfile.TemporaryDirectory() as saved:
    model.export(saved, verbose=False)
    tflite = tf.lite.TFLiteConverter.from_saved_model(saved).convert()
with open(tflite_path, "wb") as out:
    out.write(tflite)
