"""The operations, one definition each."""
from edgelr.graph.ops.activations import LeakyRelu, Sigmoid
from edgelr.graph.ops.base import NO_CLAMP, RELU, RELU6, Op, Shape, Weighted
from edgelr.graph.ops.boundary import Dequantize, Quantize
from edgelr.graph.ops.constants import AddConstant, MulConstant
from edgelr.graph.ops.conv import Conv
from edgelr.graph.ops.curves import Elu, Gelu, Tanh
from edgelr.graph.ops.elementwise import Add, Mul, Requantize, Shift
from edgelr.graph.ops.linear import Linear
from edgelr.graph.ops.matmul import MatMul
from edgelr.graph.ops.norm import GroupNorm, LayerNorm
from edgelr.graph.ops.pooling import GlobalMean, MaxPool
from edgelr.graph.ops.resize import Bilinear, Nearest
from edgelr.graph.ops.shaping import Concat, Pad, Permute, Reshape
from edgelr.graph.ops.slicing import Slice
from edgelr.graph.ops.softmax import Softmax
from edgelr.graph.ops.transposed import ConvTranspose

__all__ = [
    "NO_CLAMP", "RELU", "RELU6", "Add", "AddConstant", "Bilinear", "Concat", "Conv", "ConvTranspose", "Dequantize", "Elu", "Gelu",
    "GlobalMean", "GroupNorm", "LayerNorm", "LeakyRelu", "Linear", "MatMul", "MaxPool", "Mul", "MulConstant", "Nearest", "Op", "Pad",
    "Permute",
    "Quantize", "Requantize", "Reshape", "Shape", "Shift", "Sigmoid", "Slice", "Softmax", "Tanh", "Weighted",
]
