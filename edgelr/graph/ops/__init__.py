"""The operations, one definition each."""
from edgelr.graph.ops.activations import LeakyRelu, Sigmoid, Softmax
from edgelr.graph.ops.base import NO_CLAMP, RELU, RELU6, Op, Shape, Weighted
from edgelr.graph.ops.boundary import Dequantize, Quantize
from edgelr.graph.ops.conv import Conv
from edgelr.graph.ops.elementwise import Add, Mul, Requantize, Shift
from edgelr.graph.ops.linear import Linear
from edgelr.graph.ops.pooling import GlobalMean, MaxPool
from edgelr.graph.ops.resize import Bilinear, Nearest
from edgelr.graph.ops.shaping import Concat, Pad, Permute, Reshape

__all__ = [
    "NO_CLAMP", "RELU", "RELU6", "Add", "Bilinear", "Concat", "Conv", "Dequantize", "GlobalMean", "LeakyRelu", "Linear", "MaxPool",
    "Mul", "Nearest", "Op", "Pad", "Permute", "Quantize", "Requantize", "Reshape", "Shape", "Shift", "Sigmoid", "Softmax", "Weighted",
]
