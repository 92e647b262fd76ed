"""Which operations compute on integers, for each format: a policy for the network, and what the user or the evidence keeps in float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Literal

from edgelr.errors import UsageError
from edgelr.graph import Graph, Node
from edgelr.graph.arithmetic import WEIGHT_MAX
from edgelr.graph.mixed import necessary
from edgelr.graph.ops import Conv, Linear, Weighted
from edgelr.graph.ops.recurrent import Recurrent
from edgelr.graph.recurrent import in_form, layers, linear_before
from edgelr.quantization import Quantized, quantize
from edgelr.vocabulary import Format, Kept

Policy = Literal["int8", "mixed", "dynamic", "float"]
Spelling = Literal["fused", "linear", "loop"]
POLICIES: tuple[Policy, ...] = ("int8", "mixed", "dynamic", "float")
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Form:
    """How a file is written: which numbers it computes in, and how recurrent layers are spelled.

    "fused" multiplies factors out, "linear" keeps the input matrix's right factor as a linear layer before the fused operation, "loop"
    keeps all factors.
    """

    numbers: Policy = "int8"
    recurrent: Spelling = "fused"

    @property
    def name(self) -> str:
        return self.numbers if self.recurrent == "fused" else f"{self.numbers}, {self.recurrent}"


@dataclass(frozen=True)
class Precision:
    """``forms`` by format. ``keep_float`` are the user's patterns, ``reverted`` the operations that an accuracy bound keeps in float."""

    forms: Mapping[Format, Form] = field(default_factory=dict)
    keep_float: tuple[str, ...] = ()
    reverted: tuple[str, ...] = ()
    weight_max: int = WEIGHT_MAX

    def kept(self, graph: Graph, format: Format) -> dict[str, Kept]:
        """What doesn't compute on integers in a file of this format, and why."""
        policy = self.forms.get(format, Form()).numbers
        kept = necessary(graph, (format,))
        kept |= {n.name: why for n in graph.nodes if (why := _chosen(policy, n, format)) is not None}
        if policy == "mixed":
            _spread(graph, kept)
        kept |= {n: Kept("float", "choice", "it cost too much accuracy on integers (--max-drop)") for n in self.reverted}
        for pattern in self.keep_float:
            kept |= {n.name: Kept("float", "choice", f"--keep-float {pattern}") for n in graph.nodes if matches(n.name, pattern)}
        present = {n.name for n in graph.nodes}
        return {n: k for n, k in kept.items() if n in present}

    def quantized(self, graph: Graph, ranges: Ranges, formats: Sequence[Format]) -> dict[Format, Quantized]:
        """The graph on the grid for each format; one object where formats keep the same."""
        made: dict[Format, Quantized] = {}
        known: list[tuple[Spelling, dict[str, Kept], Quantized]] = []
        for format in formats:
            spelling = self.forms.get(format, Form()).recurrent
            written = spelled(graph, spelling)
            kept = self.kept(written, format)
            q = next((q for was, k, q in known if (was, k) == (spelling, kept)), None)
            if q is None:
                q = quantize(written, ranges, kept, self.weight_max)
                known.append((spelling, kept, q))
            made[format] = q
        return made


def spelled(graph: Graph, spelling: Spelling) -> Graph:
    """The graph with its recurrent layers as the spelling says."""
    if not layers(graph):
        return graph
    return in_form(linear_before(graph) if spelling == "linear" else graph, "loop" if spelling == "loop" else "fused")


def matches(node: str, pattern: str) -> bool:
    """Whether an operation belongs to a pattern: by its own name or that of the module that it is in, with * and ?."""
    module = node.partition("/")[0].partition("#")[0]
    return fnmatchcase(node, pattern) or fnmatchcase(module, pattern) or fnmatchcase(module, f"{pattern}.[01]")


def check_patterns(graph: Graph, patterns: Sequence[str]) -> None:
    """Raises UsageError for a pattern that no operation has."""
    for pattern in patterns:
        if not any(matches(n.name, pattern) for n in graph.nodes):
            near = get_close_matches(pattern.rstrip(".*"), [n.name for n in graph.nodes], n=1)
            raise UsageError(
                f"--keep-float {pattern!r} matches no operation",
                "names are those of the network's modules, with * for any part",
                f"did you mean {near[0]!r}?" if near else "edgelr inspect lists the names",
            )


def _chosen(policy: Policy, node: Node, format: Format) -> Kept | None:
    if isinstance(node.op, Linear) and node.name.endswith("/features") and policy in ("int8", "mixed"):
        return Kept("dynamic", "choice", "what it is a factor of computes in float")
    if isinstance(node.op, Recurrent) and policy in ("int8", "dynamic"):
        return Kept("dynamic", "necessity", node.op.float_reason(format) + ": its weights are int8, what it computes is not")
    if policy == "float":
        return Kept("float", "choice", "the whole network is in float (--numbers float)")
    if policy == "dynamic":
        depthwise = isinstance(node.op, Conv) and node.op.groups > 1
        if isinstance(node.op, Linear) or (isinstance(node.op, Conv) and format == "tflite" and not depthwise):
            return Kept("dynamic", "choice", "int8 weights, activations quantised as they come")
        return Kept("float", "choice", "activations are in float in this form")
    if policy == "mixed" and node.op.slow_on_integers:
        return Kept("float", "choice", node.op.slow_on_integers)
    return None


def _spread(graph: Graph, kept: dict[str, Kept]) -> None:
    """What has no weights and stands beside an operation in float stays in float too: a boundary costs more than it does."""
    necessary_too = necessary(graph)
    floats = {**kept, **necessary_too}
    users = graph.users()
    changed = True
    while changed:
        changed = False
        for node in graph.nodes:
            if node.name in floats or isinstance(node.op, Weighted) or node.op.tied:
                continue
            if any(i in floats for i in node.inputs) or any(u.name in floats for u in users[node.name]):
                floats[node.name] = kept[node.name] = Kept("float", "choice", "its neighbours are in float: a boundary would cost more")
                changed = True

