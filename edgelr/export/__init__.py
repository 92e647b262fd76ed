"""Export: both file formats written directly from the quantised graph."""
from __future__ import annotations

from edgelr.quantization import Quantized


def onnx_bytes(q: Quantized, name: str = "model") -> bytes:
    """The .onnx as bytes (``onnx_file.onnx_bytes``); onnx-ir is imported here and not before."""
    from edgelr.export.onnx_file import onnx_bytes as write

    return write(q, name)


def tflite_bytes(q: Quantized) -> bytes:
    """The .tflite as bytes (``tflite_file.tflite_bytes``); the schema's classes are imported here and not before."""
    from edgelr.export.tflite_file import tflite_bytes as write

    return write(q)


__all__ = ["onnx_bytes", "tflite_bytes"]
