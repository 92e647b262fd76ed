"""The network as a small graph of edge operations: captured once, run four ways, written twice."""
from edgelr.graph.arithmetic import IntegerWeights
from edgelr.graph.capture import capture
from edgelr.graph.ir import Graph, Node
from edgelr.graph.ops import Op, Shape
from edgelr.graph.run import all_values, rerun, run

__all__ = ["Graph", "IntegerWeights", "Node", "Op", "Shape", "all_values", "capture", "rerun", "run"]
