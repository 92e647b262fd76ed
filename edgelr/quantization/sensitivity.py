"""What each operation's own step to integers costs: the network's output with that one operation on the grid, all others in float."""
from __future__ import annotations

from math import inf, log10

import torch
from torch import Tensor

from edgelr.graph.arithmetic import dequantize, quantize
from edgelr.graph.ops import Dequantize, Quantize
from edgelr.graph.run import all_values, rerun_from
from edgelr.quantization.calibrate import Quantized
from edgelr.quantization.simulate import step


def sensitivities(q: Quantized, x: Tensor) -> dict[str, float]:
    """SQNR of the output in dB for each operation that computes on integers and does more than move them, in execution order.

    ``x`` [N, ...] are real inputs; all values of the float network are held at once.
    """
    result = {}
    with torch.no_grad():
        values = all_values(q.graph, x)
        reference = values[q.graph.output].double()
        power = float(reference.square().sum())
        for node in q.graph.nodes:
            if node.name in q.kept or node.op.tied or isinstance(node.op, Quantize | Dequantize) or not node.inputs:
                continue
            inputs = [quantize(values[i], q.grids[i]) for i in node.inputs]
            own = dequantize(step(q, node, inputs), q.grids[node.name])
            noise = float((rerun_from(q.graph, values, node.name, own).double() - reference).square().sum())
            result[node.name] = inf if noise == 0 else 10 * log10(max(power, 1e-300) / noise)
    return result
