"""The stock converters, each in a process of its own: a second road for networks we can't write, and what ours are judged by."""
from edgelr.export.stock.child import stock_onnx, stock_tflite

__all__ = ["stock_onnx", "stock_tflite"]
