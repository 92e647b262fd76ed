"""Which nodes of an ``.onnx`` file ONNX Runtime computes in one kernel.

Seen in the graphs that ONNX Runtime 1.31.1 saves after its optimisations (tests/parity/test_cuts.py).
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgelr.latency.ort_graph import OrtGraph
from edgelr.vocabulary import Numbers

_OFF, _ON = "DequantizeLinear", "QuantizeLinear"
_BOUNDS = ("Relu", "Clip")
_BOUNDED = ("Conv", "Gemm", "FusedConv")  # float kernels that bound their results themselves


@dataclass(frozen=True)
class Group:
    """Nodes by number, ``main`` the one that says what is computed, from ``inputs`` to ``outputs``."""

    main: int
    nodes: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: Numbers


def groups(g: OrtGraph, numbers: Sequence[Numbers]) -> Iterator[Group]:
    """Every group in order. ``numbers`` say how each node computes (``export.computing``)."""
    taken: set[int] = {n for n, node in enumerate(g.nodes) if node.output and set(node.output) <= g.stored}
    found: list[Group] = []
    for n in sorted(range(len(g.nodes)), key=lambda n: g.nodes[n].op_type != "MatMul"):  # it takes transposes before it along
        node = g.nodes[n]
        if n in taken or node.op_type in (_OFF, _ON):
            continue
        integer = numbers[n] == "int8" and node.op_type != "DynamicQuantizeLinear"
        group = _integer(g, n) if integer else _dynamic(g, n) if node.op_type == "DynamicQuantizeLinear" else _float(g, n)
        taken.update(group.nodes)
        found.append(group)
    served = {v for group in found if group.numbers == "int8" for v in group.outputs}
    for n, node in enumerate(g.nodes):
        if n in taken:
            continue
        if node.op_type == _ON and node.output[0] not in served:
            maker = g.makers.get(node.input[0])
            again = maker is not None and g.nodes[maker].op_type == _OFF
            inputs = (g.nodes[maker].input[0],) if again and maker is not None else (node.input[0],)
            found.append(Group(n, (maker, n) if again and maker is not None else (n,), inputs, tuple(node.output), "int8"))
        elif node.op_type == _OFF and _read_in_float(g, n, found):
            found.append(Group(n, (n,), (node.input[0],), tuple(node.output), "int8"))
    yield from sorted(found, key=lambda group: group.main)


def _read_in_float(g: OrtGraph, n: int, found: Sequence[Group]) -> bool:
    value = g.nodes[n].output[0]
    return value in g.results or any(value in group.inputs for group in found)


def _inputs(g: OrtGraph, n: int) -> list[str]:
    return [v for v in dict.fromkeys(g.nodes[n].input) if v and v not in g.stored]


def _integer(g: OrtGraph, n: int) -> Group:
    """A node between DequantizeLinear and QuantizeLinear, with a bound between."""
    before, inputs = [], []
    for value in _inputs(g, n):
        maker = g.makers.get(value)
        if maker is not None and g.nodes[maker].op_type == _OFF:
            before.append(maker)
            value = g.nodes[maker].input[0]
        inputs.append(value)
    after, outputs = [], []
    waiting = list(g.nodes[n].output)
    while waiting:
        value = waiting.pop(0)
        if g.types.get(value) not in (None, 1):
            outputs.append(value)
            continue
        for reader in g.readers[value]:
            after.append(reader)
            if g.nodes[reader].op_type == _ON:
                outputs.append(g.nodes[reader].output[0])
            else:
                waiting += g.nodes[reader].output
    return Group(n, tuple(sorted({*before, n, *after})), tuple(dict.fromkeys(inputs)), tuple(outputs), "int8")


def _dynamic(g: OrtGraph, n: int) -> Group:
    """From DynamicQuantizeLinear to the sum with the bias: DynamicQuantizeMatMul."""
    nodes, main, last = [n], n, n
    for reader in g.readers[g.nodes[n].output[0]]:
        chain = [reader]
        while (following := g.only_reader(g.nodes[chain[-1]].output[0])) is not None and _goes_on(g, following):
            chain.append(following)
        nodes += chain
        main, last = reader, chain[-1]
    for reader in g.readers[g.nodes[n].output[1]]:
        nodes.append(reader)
    return Group(main, tuple(sorted(set(nodes))), tuple(_inputs(g, n)), tuple(g.nodes[last].output), "dynamic")


def _goes_on(g: OrtGraph, n: int) -> bool:
    node = g.nodes[n]
    return node.op_type in ("Cast", "Mul") or (node.op_type == "Add" and any(i in g.stored for i in node.input))


def _float(g: OrtGraph, n: int) -> Group:
    node, nodes, inputs = g.nodes[n], [n], _inputs(g, n)
    numbers: Numbers = "dynamic" if node.op_type.startswith("DynamicQuantize") else "float"
    outputs = [o for o in node.output if o and (g.readers[o] or o in g.results)]
    if node.op_type == "MatMul":
        for place, value in enumerate(inputs):
            maker = g.makers.get(value)
            if maker is not None and _turns(g, maker) and g.only_reader(value) == n:
                nodes.append(maker)
                inputs[place] = g.nodes[maker].input[0]
        reader = g.only_reader(node.output[0])
        if node.input[1] in g.stored and reader is not None and g.nodes[reader].op_type == "Add" and any(
                i in g.stored for i in g.nodes[reader].input):
            nodes.append(reader)
            outputs = list(g.nodes[reader].output)
    elif node.op_type in _BOUNDED and (reader := g.only_reader(node.output[0])) is not None and g.nodes[reader].op_type in _BOUNDS:
        nodes.append(reader)
        outputs = list(g.nodes[reader].output)
    return Group(n, tuple(sorted(nodes)), tuple(dict.fromkeys(inputs)), tuple(outputs), numbers)


def _turns(g: OrtGraph, n: int) -> bool:
    """Whether a node swaps the last two axes."""
    node = g.nodes[n]
    if node.op_type != "Transpose":
        return False
    order = list(next((a.ints for a in node.attribute if a.name == "perm"), ()))
    d = len(order)
    return d > 1 and order == [*range(d - 2), d - 1, d - 2]
