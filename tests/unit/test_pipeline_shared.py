"""Layers with a factor in common, from the plan to the files: stored once, computed alike, tied where they are trained."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from journey_sample import samples
from safetensors.torch import save_file
from shared_sample import GROUPS, residual

from edgelr.data import Split
from edgelr.errors import BadInputError, UsageError
from edgelr.factorize import group_cost, rebuild, skeleton
from edgelr.graph import capture
from edgelr.models import found_groups, live, load_weights, settled
from edgelr.pipeline.candidates import Factors, factorisable, grouped_choices
from edgelr.pipeline.files import planned, write
from edgelr.pipeline.finish import stored
from edgelr.pipeline.plans import from_toml, to_toml
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.prepare import base_costs, counted_costs
from edgelr.pipeline.produce import gate_file, run_file
from edgelr.pipeline.scorer import GraphScorer
from edgelr.pipeline.settings import Settings
from edgelr.pipeline.sizes import sizes
from edgelr.pipeline.source import Source, inspect
from edgelr.quantization import Quantized, observe
from edgelr.training.fake_run import FakeQuantized
from edgelr.training.qat import trained
from edgelr.vocabulary import DENSE, Choice, Format, Plan, Share

FORMATS: tuple[Format, ...] = ("tflite", "onnx")
RANK = 12


@cache
def ready() -> tuple[Source, Factors, torch.Tensor]:
    source = inspect("residual", residual(), (1, 8, 8))
    x = torch.from_numpy(samples(64, 5)[0])
    factors = Factors(source)
    able, _, factors.factors = factorisable(source.layers, source.graph, source.folded)
    groups = found_groups(dict(source.folded.named_modules()), [layer.name for layer in able])
    assert groups == GROUPS
    factors.grouped.groups.update(groups)
    factors.prepare(able, ("spatial",), lambda: [x], [n for members in groups.values() for n in members])
    return source, factors, x


def rows(side: str, scheme: str = "spatial") -> Plan:
    left = 5 if side == "both" else 0
    return Plan({g: Choice(scheme, RANK, Share(g, side, left)) for g in GROUPS})  # type: ignore[arg-type]


def quantized(plan: Plan) -> Quantized:
    source, factors, x = ready()
    graph = planned(source.graph, plan, factors)
    return Precision().quantized(graph, observe(graph, [x]), FORMATS)["onnx"]


def alone() -> Plan:
    return Plan({name: Choice("spatial", RANK) for members in GROUPS.values() for name in members})


@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_a_common_factor_is_stored_once_and_both_runtimes_compute_the_integer_run(side: str) -> None:
    _, _, x = ready()
    q, apart = quantized(rows(side)), quantized(alone())
    files, others = (write(dict.fromkeys(FORMATS, made)) for made in (q, apart))
    for format, data in files.items():
        gate_file(q, x, run_file(data, format, Split(x.numpy(), None), q.graph), format)
        if side != "both":  # two of three copies of 96 * 12 integers in each group are gone
            assert len(others[format]) - len(data) > 2 * 2 * 96 * RANK - 64
    model = schema.ModelT.InitFromPackedBuf(files["tflite"], 0)
    weights = [o.inputs[1] for o in model.subgraphs[0].operators if len(o.inputs) == 3]
    buffers = {model.subgraphs[0].tensors[i].buffer for i in weights}
    assert len(weights) - len(buffers) == 2 * 2 * (2 if side == "both" else 1)


@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_the_spliced_graph_is_what_the_tied_network_s_capture_gives(side: str) -> None:
    source, factors, _ = ready()
    plan = factors.grouped.expanded(rows(side))
    spliced = planned(source.graph, rows(side), factors)
    net = rebuild(source.folded, plan, {}, factors.grouped.joint(plan))
    captured = capture(net, source.shape)
    assert [(n.name, n.inputs) for n in captured.nodes] == [(n.name, n.inputs) for n in spliced.nodes]
    for ours, theirs in zip(spliced.nodes, captured.nodes, strict=True):
        if hasattr(ours.op, "weight"):
            torch.testing.assert_close(ours.op.weight, theirs.op.weight.detach(), atol=1e-5, rtol=1e-5)  # type: ignore[attr-defined]
    assert sum(p.numel() for p in net.parameters()) == counted_costs(source, plan)["params"]


@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_batch_norm_lives_again_behind_tied_layers_and_stored_integers_stay_equal(side: str) -> None:
    source, factors, x = ready()
    plan = factors.grouped.expanded(rows(side))
    net = rebuild(source.folded, plan, {}, factors.grouped.joint(plan)).eval()
    norms = {layer: source.plain.get_submodule(norm) for layer, norm in source.norms.items()}
    alive = live(net, norms)
    torch.testing.assert_close(alive.eval()(x), net(x), atol=1e-5, rtol=1e-4)
    optimiser = torch.optim.SGD(alive.parameters(), 0.05)
    alive.train()(x).square().mean().backward()
    optimiser.step()
    after = settled(alive, norms)
    assert len(list(after.parameters())) == len(list(net.parameters()))
    torch.testing.assert_close(after(x), alive.eval()(x), atol=1e-4, rtol=1e-3)
    graph = capture(after, source.shape)
    q = Precision().quantized(graph, observe(graph, [x]), FORMATS)["onnx"]
    part = {"left": ".0", "right": ".1", "both": ".1.1"}[side]
    first, *others = (q.weights[n + part].weight for n in GROUPS["blocks.0-2.conv1"])
    assert all(torch.equal(first, other) for other in others)


def test_training_on_the_grid_keeps_common_weights_common() -> None:
    q = quantized(rows("right"))
    fake = FakeQuantized(q)
    count = sum(p.numel() for p in FakeQuantized(quantized(alone())).weights())
    assert count - sum(p.numel() for p in fake.weights()) == 2 * 2 * 96 * RANK
    torch.manual_seed(0)
    with torch.no_grad():
        for step in fake.weights():
            step.add_(torch.randn_like(step))
        for growth in fake.scales():
            growth.add_(0.05)
    after = trained(fake)
    names = [f"blocks.{i}.conv1.1" for i in range(3)]
    assert all(torch.equal(after.weights[n].weight, after.weights[names[0]].weight) for n in names)
    assert not torch.equal(after.weights[names[0]].weight, q.weights[names[0]].weight)


def test_the_state_dict_holds_a_common_factor_once_and_the_skeleton_ties_it_again(tmp_path: Path) -> None:
    source, factors, x = ready()
    for side in ("left", "right", "both"):
        plan = factors.grouped.expanded(rows(side))
        net = rebuild(source.folded, plan, {}, factors.grouped.joint(plan)).eval()
        file = tmp_path / f"{side}.safetensors"
        save_file(stored(net), file)
        again = load_weights(skeleton(source.folded, plan), file).eval()
        torch.testing.assert_close(again(x), net(x), atol=0, rtol=0)
        counted = counted_costs(source, plan)["params"]
        assert sum(v.numel() for v in stored(net).values()) == counted == sum(p.numel() for p in again.parameters())


@pytest.mark.parametrize("format", FORMATS)
def test_bytes_of_groups_add_up_to_the_file(format: Format) -> None:
    source, factors, _ = ready()
    dense = {f: len(d) for f, d in write(dict.fromkeys(FORMATS, quantized(Plan()))).items()}
    for side in ("left", "right", "both"):
        plan = rows(side)
        options = {name: (choice,) for name, choice in plan.choices.items()}
        own = sizes(source.graph, options, factors, FORMATS, Precision())
        base = base_costs(source, options, own, dense, GROUPS)
        written = len(write({format: quantized(plan)})[format])
        assert base[f"bytes:{format}"] + sum(own[n, c][format] for n, c in plan.choices.items()) == pytest.approx(written, rel=0.01)
        counted = counted_costs(source, factors.grouped.expanded(plan))["params"]
        assert base["params"] + sum(own_params(n, c) for n, c in plan.choices.items()) == counted


def own_params(group: str, choice: Choice) -> int:
    by_name = {layer.name: layer for layer in ready()[0].layers}
    return group_cost(tuple(by_name[n] for n in GROUPS[group]), choice)[0]


def test_a_row_of_a_group_is_scored_as_its_layers_together() -> None:
    source, factors, x = ready()
    scorer = GraphScorer(source.graph, x, torch.from_numpy(samples(64, 5)[1]), factors.product, groups=factors.grouped.groups)
    plan = rows("left")
    moves = list(plan.choices.items())
    again = GraphScorer(source.graph, x, torch.from_numpy(samples(64, 5)[1]), factors.product, groups=factors.grouped.groups)
    assert scorer.score_moves(Plan(), moves) == pytest.approx([again.score(Plan({n: c})) for n, c in moves], abs=1e-6)
    assert scorer.score(plan) == pytest.approx(again.score(factors.grouped.expanded(plan)), abs=1e-6)


def test_groups_break_even_in_bytes_at_higher_ranks_than_layers_alone() -> None:
    source, _, _ = ready()
    found = grouped_choices(source.layers, GROUPS, ("spatial",), 1, ["bytes:onnx"], 100)["blocks.0-2.conv1"]
    assert max(c.rank or 0 for c in found if c.share and c.share.side == "left") == 71  # 3 * 32 * 32 * 9 / (4 * 96), not below it
    macs = grouped_choices(source.layers, GROUPS, ("spatial",), 1, ["macs"], 100)["blocks.0-2.conv1"]
    assert max(c.rank or 0 for c in macs) == 47  # sharing saves no work
    assert {c.share.side for c in found if c.share} == {"left", "right", "both"} and DENSE not in found


def test_a_shared_plan_round_trips_as_text_and_what_is_incomplete_is_refused() -> None:
    _, factors, _ = ready()
    for side in ("left", "right", "both"):
        plan = factors.grouped.expanded(rows(side))
        text = to_toml(plan, "net", (1, 8, 8))
        assert from_toml(text, "plan.toml") == (plan, (1, 8, 8))
    for wrong in ('shares = "middle"', 'shares = "left", left_rank = 3', 'shares = "both"', 'shares = "both", left_rank = 12'):
        bad = text.replace('shares = "both", left_rank = 5', wrong)
        with pytest.raises(BadInputError, match="no choice"):
            from_toml(bad, "plan.toml")


def test_sharing_is_asked_for_and_its_words_are_checked() -> None:
    assert not Settings().sharing
    both = Settings(schemes=("spatial", "shared"))
    assert (both.alone, both.together) == (("spatial",), ("spatial",)) and both.sharing
    assert replace(both, schemes=("shared",)).together == ("channel", "spatial", "linear")
    with pytest.raises(UsageError, match="--group"):
        Settings(groups=("blocks.*",))
    with pytest.raises(UsageError, match="stock"):
        Settings(schemes=("shared",), via="stock")


def test_ranges_don_t_matter_to_which_integers_are_stored() -> None:
    """Gains that make a weight's multiples round apart are stored as one set of integers all the same."""
    source, factors, x = ready()
    graph = planned(source.graph, rows("right"), factors)
    draw = np.random.default_rng(0)
    ops = {n: replace(graph.node(n).op, weight=graph.node(n).op.weight * torch.from_numpy(draw.uniform(0.1, 9, (32, 1, 1, 1))).float())  # type: ignore[attr-defined, type-var]
           for n in (f"blocks.{i}.conv1.1" for i in range(3))}  # fmt: skip
    changed = graph.with_ops(ops)
    q = Precision().quantized(changed, observe(changed, [x]), FORMATS)["onnx"]
    assert all(torch.equal(q.weights[n].weight, q.weights["blocks.0.conv1.1"].weight) for n in ops)
    assert not torch.equal(q.weights["blocks.0.conv1.1"].scale, q.weights["blocks.1.conv1.1"].scale)
