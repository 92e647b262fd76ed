"""Recurrent networks in the search: what gate matrices read, scores where two of them share an operation, sizes and prices."""

from __future__ import annotations

from functools import cache
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from edgelr.factorize import Gates, choice_cost, named_layers, rebuild
from edgelr.graph import run
from edgelr.latency import Prices
from edgelr.pipeline import candidates
from edgelr.pipeline.files import draft, planned
from edgelr.pipeline.gate_moments import collect_gate_moments
from edgelr.pipeline.precision import Form, Precision
from edgelr.pipeline.prepare import base_costs
from edgelr.pipeline.pricing import by_operation, layers_of_operations, shared_out
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.settings import SCHEMES, Format
from edgelr.pipeline.sizes import sizes
from edgelr.pipeline.source import Source, inspect
from edgelr.vocabulary import DENSE, Choice, Plan

STEPS, FEATURES, HIDDEN = 6, 5, 24
LOOP = Precision(dict.fromkeys(("tflite", "onnx"), Form("int8", "loop")))


class Tagger(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU], both: bool = True) -> None:
        super().__init__()
        self.seq = kind(FEATURES, HIDDEN, 2, batch_first=True, bidirectional=both)
        self.head = nn.Linear(HIDDEN * (2 if both else 1), 4)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.seq(x)[0][:, -1]))


@cache
def parts(kind: type[nn.LSTM], both: bool = True) -> tuple[Source, candidates.Factors, dict[str, tuple[Choice, ...]]]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = Tagger(kind, both).eval()
        with torch.no_grad():
            net.head.weight.mul_(10)  # random layers hardly move the classes
        source = inspect("tagger", net, (STEPS, FEATURES))
        able, why, scales = candidates.factorisable(source.layers, source.graph, source.folded)
        assert not why
        options = candidates.choices(able, SCHEMES, 1, ["params"], 4)
        factors = candidates.Factors(source, factors=scales)
        factors.prepare(able, SCHEMES, lambda: [torch.randn(32, STEPS, FEATURES) + 1 for _ in range(2)])
    return source, factors, options


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_moments_are_those_of_every_step_that_a_matrix_reads(kind: type[nn.LSTM]) -> None:
    source, _, _ = parts(kind)
    module = cast(Tagger, source.folded).seq
    x = torch.randn(3, STEPS, FEATURES)
    gates = {n: m for n, m in named_layers(source.folded).items() if isinstance(m, Gates)}
    moments = collect_gate_moments(source.graph, gates, [x[:2], x[2:]], 10**6)
    assert set(moments) == {f"seq.{name}" for name in dict(module.named_parameters()) if name.startswith("weight")}
    below: list[Tensor] = list(x.unbind(1))
    for layer in range(2):
        outputs = []
        for way in ("", "_reverse"):
            cell = (nn.LSTMCell if kind is nn.LSTM else nn.GRUCell)(len(below[0][0]), HIDDEN)
            cell.load_state_dict({n: module.get_parameter(f"{n}_l{layer}{way}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")})
            state, before, after = (torch.zeros(3, HIDDEN),) * 2, [], {}
            for step in range(STEPS) if not way else reversed(range(STEPS)):
                before.append(state[0])
                state = cell(below[step], state) if kind is nn.LSTM else (cell(below[step], state[0]),) * 2
                after[step] = state[0]
            outputs.append([after[step] for step in range(STEPS)])
            for part, steps in (("ih", below), ("hh", before)):
                rows = torch.cat(steps).detach().double()
                found = moments[f"seq.weight_{part}_l{layer}{way}"]
                assert found.count == 3 * STEPS
                torch.testing.assert_close(found.second[0], rows.T @ rows / len(rows), rtol=1e-4, atol=1e-6)
        below = [torch.cat(pair, 1) for pair in zip(*outputs, strict=True)]


@pytest.mark.parametrize("scheme", ["recurrent", "gates"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_the_planned_graph_computes_what_the_rebuilt_network_does(kind: type[nn.LSTM], scheme: str) -> None:
    source, factors, options = parts(kind)
    plan = Plan({n: next(c for c in found if c.scheme in (scheme, "linear")) for n, found in options.items()})
    x = torch.randn(4, STEPS, FEATURES)
    with torch.no_grad():
        expected = rebuild(source.folded, plan, factors.decompositions)(x)
        torch.testing.assert_close(run(planned(source.graph, plan, factors), x), expected, rtol=1e-4, atol=1e-4)
    assert (expected - source.folded(x)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_moves_on_both_matrices_of_one_operation_are_scored_together(kind: type[nn.LSTM]) -> None:
    source, factors, _ = parts(kind)
    x = torch.randn(40, STEPS, FEATURES)
    labels = torch.randint(4, (40,))
    ih, hh, other = "seq.weight_ih_l1", "seq.weight_hh_l1", "seq.weight_hh_l0_reverse"
    parent = Plan({ih: Choice("recurrent", 3), hh: Choice("gates", 3), other: Choice("gates", 2)})
    moves = [(hh, Choice("recurrent", 2)), (hh, DENSE), (ih, DENSE), (ih, Choice("gates", 1)), (other, DENSE)]
    found = GraphScorer(source.graph, x, labels, factors.product).score_moves(parent, moves)
    for (layer, choice), score in zip(moves, found, strict=True):
        plan = parent.replace(layer, choice)
        scorer = GraphScorer(source.graph, x, labels, factors.product)
        assert score == pytest.approx(scorer.score(plan), abs=1e-6)
        small = rebuild(source.folded, plan, factors.decompositions)
        with torch.no_grad():
            torch.testing.assert_close(run(scorer.planned(plan), x), small(x), rtol=1e-4, atol=1e-4)
    assert len({round(score, 5) for score in found}) == len(moves)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_sizes_of_both_matrices_of_an_operation_add_up_to_the_file(kind: type[nn.LSTM], format: Format) -> None:
    source, factors, options = parts(kind, both=False)
    own = sizes(source.graph, options, factors, (format,), LOOP)
    dense = {format: len(draft(source.graph, (format,), LOOP)[format])}
    base = base_costs(source, options, own, dense)[f"bytes:{format}"]
    one = next(c for c in options["seq.weight_hh_l1"] if c.scheme == "gates")
    for plan in (Plan({"seq.weight_hh_l1": one}), Plan({n: found[0] for n, found in options.items()})):
        written = len(draft(planned(source.graph, plan, factors), (format,), LOOP)[format])
        assert base + sum(own[n, plan[n]][format] for n in options) == pytest.approx(written, abs=0.01 * dense[format])
    assert abs(written - dense[format]) > 0.1 * dense[format]  # an error of what these choices change would be seen


def test_an_operations_price_is_shared_out_by_macs_and_adds_up() -> None:
    source, _, _ = parts(nn.GRU, both=False)
    ih, hh = "seq.weight_ih_l1", "seq.weight_hh_l1"
    held = layers_of_operations(source.graph, [ih, hh, "head"])
    assert held == {"seq.l1": (ih, hh)}
    both = {ih: Choice("recurrent", 4), hh: Choice("gates", 2), "head": Choice("linear", 1)}
    plans = [Plan(), Plan(both), Plan({hh: Choice("gates", 4)})]
    renamed = {plan: by_operation(plan, held, k) for k, plan in enumerate(plans)}
    assert [told["seq.l1"] for told in renamed.values()] == [DENSE, Choice("recurrent", 1), Choice("recurrent", 2)]
    assert renamed[plans[1]]["head"] == Choice("linear", 1)
    us = {("seq.l1", Choice("recurrent", k) if k else DENSE): v for k, v in enumerate((100.0, 60.0, 90.0))} | {("head", DENSE): 5.0}
    prices = shared_out(Prices("r", "here", us, 7.0), renamed, held, source.layers)
    by_name = {layer.name: layer for layer in source.layers}
    assert prices.us[ih, DENSE] == prices.us[hh, DENSE] == 50.0  # of one size: dense prices aren't those beside factors
    assert prices.us[ih, plans[1][ih]] + prices.us[hh, plans[1][hh]] == pytest.approx(60.0)
    ratio = choice_cost(by_name[ih], plans[1][ih])[1] / choice_cost(by_name[hh], plans[1][hh])[1]
    assert prices.us[ih, plans[1][ih]] / prices.us[hh, plans[1][hh]] == pytest.approx(ratio)
    assert prices.us["head", DENSE] == 5.0 and prices.base_us == 7.0
    assert prices.predicted_us(Plan(), [ih, hh, "head"]) == pytest.approx(112.0)  # type: ignore[arg-type]
