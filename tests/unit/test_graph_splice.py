"""A graph with factorised layers put in is the graph that the rebuilt network would be captured as, its gate matrices kept as factors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgelr.factorize import Gates, decompose, named_layers, rebuild
from edgelr.graph import Graph, capture, run
from edgelr.graph.ops.recurrent import Recurrent
from edgelr.graph.splice import Halves, Place, place_of, spliced
from edgelr.vocabulary import Choice, Plan


class Net(nn.Module):
    """One layer between two others, with a residual around it where the shapes allow it."""

    def __init__(self, layer: nn.Conv2d, skip: bool, activation: nn.Module) -> None:
        super().__init__()
        self.stem, self.layer, self.activation = nn.Conv2d(3, 12, 3, padding=1), layer, activation
        self.head, self.skip = nn.Linear(layer.out_channels, 5), skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).relu()
        z = self.activation(self.layer(y))
        z = z + y if self.skip else z
        return self.head(z.mean((2, 3)))


def both(model: nn.Module, shape: tuple[int, ...], plan: Plan) -> tuple[Graph, Graph]:
    """The captured graph with the plan's layers put in, and the captured rebuilt network."""
    modules = dict(model.named_modules())
    made = {(name, choice.scheme): decompose(modules[name], choice.scheme, None) for name, choice in plan.factorised().items()}
    halves = {}
    for name, choice in plan.factorised().items():
        assert choice.rank is not None
        first, second = made[name, choice.scheme].pair(choice.rank)
        bias = second.bias if second.bias is not None else torch.zeros(second.weight.shape[0])
        halves[name] = Halves(choice.scheme, first.weight.detach(), second.weight.detach(), bias.detach())  # type: ignore[arg-type]
    return spliced(capture(model, shape), halves), capture(rebuild(model, plan, made), shape)


def assert_same(one: Graph, other: Graph, x: Tensor) -> None:
    with torch.no_grad():
        expected = run(other, x)
        assert torch.allclose(run(one, x), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert [type(n.op) for n in one.nodes] == [type(n.op) for n in other.nodes]
    assert [one.shapes[n.name] for n in one.nodes] == [other.shapes[n.name] for n in other.nodes]


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
@pytest.mark.parametrize("activation", [nn.Identity(), nn.ReLU(), nn.Hardswish()])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"padding": 0},
        {"padding": (2, 0)},
        {"dilation": 2},
        {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)},
        {"bias": False},
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": (3, 5)},
        {"groups": 2},
    ],
)
def test_any_convolution_put_in_equals_its_rebuilt_network(scheme: str, activation: nn.Module, options: dict[str, object]) -> None:
    settings = {"kernel_size": 3, "padding": 1, **options}
    layer = nn.Conv2d(12, 12, **settings)  # type: ignore[arg-type]
    skip = not options or "bias" in options
    model = Net(layer, skip, activation).eval()
    assert_same(*both(model, (3, 9, 11), Plan({"layer": Choice(scheme, 2)})), torch.randn(4, 3, 9, 11))  # type: ignore[arg-type]


def test_several_layers_at_once_also_the_last_and_linear_ones() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 16),
        nn.ReLU(),
        nn.Linear(16, 6),
    ).eval()
    plan = Plan({"0": Choice("channel", 3), "2": Choice("spatial", 4), "5": Choice("linear", 5), "7": Choice("linear", 3)})
    assert_same(*both(model, (3, 6, 6), plan), torch.randn(4, 3, 6, 6))


def test_the_halves_are_named_after_the_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(128, 4)).eval()
    one, other = both(model, (3, 6, 6), Plan({"2": Choice("linear", 2)}))
    assert (
        [n.name for n in one.nodes if n.name.startswith("2")] == ["2.0", "2.1"] == [n.name for n in other.nodes if n.name.startswith("2")]
    )
    assert one.output == "2.1"


def test_nothing_put_in_leaves_the_graph_as_it_was() -> None:
    graph = capture(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval(), (3, 6, 6))
    assert [n.name for n in spliced(graph, {}).nodes] == [n.name for n in graph.nodes]


@pytest.mark.parametrize("scheme", ["channel", "spatial"])
@pytest.mark.parametrize("pads", [(1, 0, 0, 2), (0, 2, 1, 0)])
def test_uneven_padding_before_a_convolution_stays_on_its_side(scheme: str, pads: tuple[int, int, int, int]) -> None:
    model = nn.Sequential(nn.ZeroPad2d(pads), nn.Conv2d(3, 8, 3, stride=(2, 1)), nn.Flatten(), nn.LazyLinear(4)).eval()
    model(torch.zeros(1, 3, 8, 9))
    one, other = both(model, (3, 8, 9), Plan({"1": Choice(scheme, 2)}))  # type: ignore[arg-type]
    x = torch.randn(4, 3, 8, 9)
    with torch.no_grad():
        assert torch.allclose(run(one, x), run(other, x), atol=1e-5)


class Tagger(nn.Module):
    """A recurrent layer over [batch, steps, features], and a linear layer on its last step."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], options: dict[str, Any]) -> None:
        super().__init__()
        self.seq = kind(6, 10, **{"batch_first": True, **options})
        self.head = nn.Linear((options.get("proj_size") or 10) * (2 if options.get("bidirectional") else 1), 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.seq.batch_first:
            return self.head(self.seq(x)[0][:, -1])
        return self.head(self.seq(x.transpose(0, 1))[0][-1])


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("scheme", ["recurrent", "gates"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (nn.LSTM, {}),
        (nn.GRU, {"batch_first": False}),
        (nn.LSTM, {"num_layers": 2, "bidirectional": True, "bias": False}),
        (nn.GRU, {"num_layers": 2}),
        (nn.LSTM, {"proj_size": 4, "bidirectional": True}),
    ],
)
def test_gate_matrices_put_in_stay_factors_and_compute_what_the_rebuilt_network_does(
    kind: type[nn.LSTM], options: dict[str, Any], scheme: str
) -> None:
    model, x = Tagger(kind, options).eval(), torch.randn(3, 7, 6)
    graph = capture(model, (7, 6))
    gates = {name: layer for name, layer in named_layers(model).items() if isinstance(layer, Gates)}
    made = {(name, scheme): decompose(layer, scheme) for name, layer in gates.items()}  # type: ignore[arg-type]
    for rank in (1, 3):
        pairs = {}
        for (name, _), decomposition in made.items():
            first, second, bias = decomposition.weights(rank)
            pairs[name] = Halves(scheme, first, second, torch.zeros(len(second)) if bias is None else bias)  # type: ignore[arg-type]
        small = spliced(graph, pairs)
        with torch.no_grad():
            expected = rebuild(model, Plan(dict.fromkeys(gates, Choice(scheme, rank))), made)(x)  # type: ignore[arg-type]
            torch.testing.assert_close(run(small, x), expected, rtol=1e-5, atol=1e-5)
        held = sum(p.numel() for n in small.nodes if isinstance(n.op, Recurrent) for m in (n.op.ih, n.op.hh) for p in m.parts())
        assert held == sum(p.first.numel() + p.second.numel() for p in pairs.values())
        assert [n.name for n in small.nodes] == [n.name for n in graph.nodes]


def test_a_gate_matrix_is_found_in_the_node_of_its_layer_and_direction() -> None:
    one, many = (capture(Tagger(nn.LSTM, o).eval(), (7, 6)) for o in ({}, {"num_layers": 2, "bidirectional": True}))
    assert place_of(one, "seq.weight_hh_l0") == Place("seq", "hh")
    assert place_of(many, "seq.weight_ih_l1_reverse") == Place("seq.l1_reverse", "ih")
    assert place_of(many, "head") == Place("head", "weight")
    for name in ("seq.weight_ih_l1", "seq.weight_ih_l0_reverse", "seq.weight_hr_l0", "else.weight_ih_l0"):
        assert place_of(one, name) is None
