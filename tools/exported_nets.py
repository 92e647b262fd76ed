"""Networks at half of their parameters, as edgelr factorises them, in every form that ``--numbers auto`` chooses among; nothing trained."""
from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nets
import numpy as np
import recurrent_nets
import torch
from attention_nets import Encoder
from bench_data import photos
from bench_table import tell
from elsewhere import Job
from torch import Tensor, nn

from edgelr.devices import load_target, open_session
from edgelr.export.layout import layout_of
from edgelr.graph import Graph
from edgelr.graph.recurrent import layers
from edgelr.pipeline import candidates
from edgelr.pipeline.files import planned, write
from edgelr.pipeline.forms import FLOAT
from edgelr.pipeline.forms import candidates as forms
from edgelr.pipeline.precision import Precision
from edgelr.pipeline.prepare import counted_costs
from edgelr.pipeline.settings import FORMATS, SCHEMES
from edgelr.pipeline.source import gathered, inspect
from edgelr.quantization import observe
from edgelr.ranks import additive, total
from edgelr.vocabulary import DENSE, Format, Grid, Plan, Scheme

SHARE = 0.5
BOARD = "raspberry-pi-4"  # whose steps ranks are chosen on, in LiteRT


@dataclass(frozen=True)
class Given:
    """A network, what its ranges come from, and what its files are run on."""

    model: nn.Module
    calibration: Tensor
    inputs: Tensor


@dataclass(frozen=True)
class Net:
    """``needs``: files of the shared folder; ``package``: one that the network comes from."""

    name: str
    title: str
    load: Callable[[Path, Path, int], Given]
    samples: int
    needs: tuple[str, ...] = ()
    package: str = ""
    schemes: tuple[Scheme, ...] = SCHEMES


@dataclass(frozen=True)
class Written:
    """A file of a network with its inputs; ``grid`` is its output's, None where that is a real number."""

    net: str
    form: str
    weight_max: int
    job: Job
    grid: Grid | None
    recurrent: bool


def resnet20(shared: Path, cache: Path, samples: int) -> Given:
    case = nets.resnet20(shared)
    return Given(case.model, case.calibration, case.held_out[:samples])


def efficientnet_lite0(shared: Path, cache: Path, samples: int) -> Given:
    data = photos(shared, 16, 1, samples, labelled=False)
    assert data.calibration and data.test
    return Given(nets.efficientnet_lite0(shared).model, gathered(data.calibration, 16)[0], gathered(data.test, samples)[0])


def lstm(shared: Path, cache: Path, samples: int) -> Given:
    task = recurrent_nets.hapt()
    data = task.data
    assert data.calibration and data.test
    chosen = data.test.take(np.sort(np.random.default_rng(0).permutation(len(data.test))[:samples]))
    return Given(recurrent_nets.trained(task, 64, cache), gathered(data.calibration, 256)[0], gathered(chosen, samples)[0])


def encoder(shared: Path, cache: Path, samples: int) -> Given:
    torch.manual_seed(0)
    model, x = Encoder(64).eval(), torch.randn(64 + samples, 64, 64)
    return Given(model, x[:64], x[64:])


CIFAR = ("models/resnet_cifar.py", "models/resnet20_cifar10.safetensors", "data/cifar10_train_jpeg.npz", "data/cifar10_test_jpeg.npz")
NETS = (
    Net("resnet20-spatial", "ResNet-20, spatial pairs", resnet20, 25, CIFAR, schemes=("spatial",)),
    Net("resnet20-channel", "ResNet-20, channel pairs", resnet20, 25, CIFAR, schemes=("channel",)),
    Net("efficientnet", "EfficientNet-Lite0", efficientnet_lite0, 4, ("data/imagenet_like600.npz",), "efficientnet_lite_pytorch"),
    Net("lstm", "LSTM-64x2 on HAPT", lstm, 20, ("data/hapt_windows.npz",)),
    Net("encoder", "encoder-64, random weights", encoder, 40),
)


def factorised(net: Net, given: Given) -> Graph:
    """The network's graph at ``SHARE`` of its parameters: the additive optimum by the layers' own errors, no search, no training."""
    source = inspect(net.name, given.model, tuple(given.inputs.shape[1:]))
    able, _, factor_of = candidates.factorisable(source.layers, source.graph, source.folded)
    options = candidates.choices(able, net.schemes, load_target(BOARD).rank_steps["litert"], ["params"])
    factors = candidates.Factors(source, factors=factor_of)
    factors.prepare([w for w in able if w.name in options], net.schemes, lambda: [given.calibration])
    rows = candidates.table(able, options, lambda layer, choice: {}, factors.error)
    dense = counted_costs(source, Plan())["params"]
    base = {"params": dense - total(Plan(dict.fromkeys(rows, DENSE)), rows, {"params": 0.0})["params"]}
    plan = additive(rows, {"params": SHARE * dense}, base).plan
    tell(f"{net.title}: {counted_costs(source, plan)['params'] / dense:.1%} of its parameters")
    return planned(source.graph, plan, factors)


def written(net: Net, given: Given, graph: Graph, weights: tuple[int, ...]) -> Iterator[Written]:
    """Every file of a network, with weights up to each of ``weights``."""
    ranges = observe(graph, given.calibration.split(16))
    last = layout_of(graph).channels_last
    for most in weights:
        for form in (f for f in forms(graph, "auto", "") if f != FLOAT):
            made = Precision(dict.fromkeys(FORMATS, form), weight_max=most).quantized(graph, ranges, FORMATS)
            for format, data in write(made).items():
                q = made[format]
                name = f"{net.name}-{form.name.replace(', ', '-')}-{most}"
                job = Job(name if format == "onnx" else f"{name}-lite", format, data, [_inputs(data, format, given, graph.input in last)])
                yield Written(net.title, form.name, most, job, q.grids.get(q.graph.output), bool(layers(graph)))


def _inputs(data: bytes, format: Format, given: Given, last: bool) -> np.ndarray:
    session = open_session(data, format, channels_last=last)
    try:
        raw = session.raw(given.inputs.numpy())
    finally:
        session.close()
    return raw[:, None] if format == "tflite" else raw


def found(shared: Path, quick: bool) -> Iterator[Net]:
    """The networks whose data and package are here; of the others it is told."""
    for net in NETS:
        absent = [f for f in net.needs if not (shared / f).is_file()]
        absent += [net.package] if net.package and importlib.util.find_spec(net.package) is None else []
        if absent:
            tell(f"{net.title} left out: {', '.join(absent)} not found")
        else:
            yield replace(net, samples=2) if quick else net
