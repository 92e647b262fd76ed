"""An ``.onnx`` file as ONNX Runtime runs it, at batch 1: its kernels in order, and the shapes and types of all values."""
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from edgelr.devices.optimised import optimised, shapes_and_types
from edgelr.errors import BadInputError
from edgelr.latency.operation import Shape

# What ONNX Runtime appends to the names of nodes that it rebuilt: for int8 kernels, and for its blocked float layout.
_RENAMED = re.compile(r"(_token_\d+|_nchwc)+$")
_BLOCKED = "com.microsoft.nchwc"


class OrtGraph:
    """``nodes`` in order; ``shapes`` and ``types`` (NumPy's names) of every value; ``arrays`` stored ones by name.

    ``names`` are those of the file's own nodes. A node that ONNX Runtime put in is called by the one that it serves: NAME/part.
    """

    def __init__(self, model: Any, *, blocked: bool) -> None:
        """Raises BadInputError where ONNX Runtime refuses it."""
        import onnx

        self.model = onnx.load_from_string(optimised(model.SerializeToString(), blocked=blocked))
        graph = self.model.graph
        self.nodes = list(graph.node)
        self.arrays = {t.name: t for t in graph.initializer}
        self.shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in graph.initializer}
        self.types: dict[str, str] = {t.name: str(onnx.helper.tensor_dtype_to_np_dtype(t.data_type)) for t in graph.initializer}
        for value in graph.input:
            tensor = value.type.tensor_type
            self.shapes[value.name] = tuple(d.dim_value if d.HasField("dim_value") else 1 for d in tensor.shape.dim)
            self.types[value.name] = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        for name, (shape, kind) in self._told().items():
            self.shapes[name], self.types[name] = shape, str(kind)
        self.told = dict(self.shapes)  # as the file has them: blocked layouts fill channels up to whole blocks
        if blocked:
            self._unpad(_inferred(model))
        self.readers: dict[str, list[int]] = defaultdict(list)
        for n, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.input):
                self.readers[name].append(n)
        self.names = self._named(model.graph.node)

    def _told(self) -> Mapping[str, tuple[Shape, Any]]:
        import onnx

        told = onnx.ModelProto()
        told.CopyFrom(self.model)
        values = [v for node in self.nodes for v in node.output if v]
        results = {o.name for o in told.graph.output}
        for name in values:
            if name not in results:
                told.graph.output.add().name = name
        return shapes_and_types(told.SerializeToString(), values) if values else {}

    def _unpad(self, written: Mapping[str, Shape]) -> None:
        own: dict[str, int] = {}
        for node in self.nodes:
            out = node.output[0]
            shape, known = self.shapes.get(out, ()), written.get(node.name.removesuffix("_nchwc"), ())
            channels = own.get(next((v for v in node.input if v in own), ""), 0)
            if node.op_type == "ReorderInput":
                own[out] = self.told[node.input[0]][-1 if _flag(node, "channels_last") else 1]
            elif node.domain == _BLOCKED and len(known) == 4:
                own[out] = known[1]
            elif channels and len(shape) == 4 and node.op_type != "ReorderOutput":
                joins = node.op_type == "Concat" and _integer(node, "axis") == 1
                own[out] = sum(own.get(v, self.told[v][1]) for v in node.input) if joins else channels
            if out in own:
                self.told[out] = (shape[0], own[out], *shape[2:])

    def _named(self, written: Any) -> list[str]:
        own = {n.name for n in written if n.name}
        makers = {o: n.name or o.removesuffix("/q") if n.op_type == "QuantizeLinear" else n.name for n in written for o in n.output}

        def known(node: Any) -> str:
            name = _RENAMED.sub("", node.name)
            made = [n for n in (makers.get(v, "") for v in (name, *node.output)) if n]
            while name and name not in own:
                name = name.rpartition("/")[0]
            name = name or (made[0] if made else "")
            bounded = name.removesuffix("/relu").removesuffix("/clip")
            return bounded if bounded in own else name

        names = [known(node) for node in self.nodes]
        served = list(names)
        for n in reversed(range(len(names))):
            if not names[n]:
                readers = [r for o in self.nodes[n].output for r in self.readers[o]]
                served[n] = served[readers[0]] if readers else next(iter(self.nodes[n].output), "")
        return [name or f"{base}/part" for name, base in zip(names, served, strict=True)]


def _inferred(model: Any) -> Mapping[str, Shape]:
    """The shapes that onnx tells of a file's own values, at batch 1."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    return {v.name: tuple(d.dim_value if d.HasField("dim_value") else 1 for d in v.type.tensor_type.shape.dim)
            for v in (*graph.value_info, *graph.output)}


def _flag(node: Any, name: str) -> bool:
    return bool(_integer(node, name))


def _integer(node: Any, name: str) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), 0)


def load(data: bytes) -> Any:
    """The model. Raises BadInputError for bytes that are none."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_from_string(data)
    except DecodeError as error:
        raise BadInputError("This isn't an .onnx file.", str(error)) from error
    if not model.graph.node or not model.graph.output:
        raise BadInputError("This isn't an .onnx file.", "it has no operations or no output.")
    return model
