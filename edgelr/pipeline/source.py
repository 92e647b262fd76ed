"""The network and the data, read and looked at before any work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgelr.data import Data, Split, checked, read_data
from edgelr.errors import BadInputError, UsageError
from edgelr.graph import Graph, capture
from edgelr.graph.behaviour import check_one_input
from edgelr.graph.recurrent import trimmed
from edgelr.models import check_inputs, folding, load_network, load_weights, plain_layers, survey
from edgelr.pipeline.settings import Settings
from edgelr.vocabulary import Layer

BATCH = 64


@dataclass(frozen=True)
class Source:
    """The network as given, its form with batch norm folded, and its graph; shapes are without batch.

    ``layers`` are those of the folded network, ``all_layers`` those of the network as given. ``plain`` is the one that is trained: as
    given, of plain layers; ``norms`` are its batch norms that were folded, by the name of the layer that each was folded into.
    """

    name: str
    model: nn.Module
    plain: nn.Module
    norms: Mapping[str, str]
    folded: nn.Module
    shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    all_layers: tuple[Layer, ...]
    graph: Graph
    warnings: tuple[str, ...]

    @property
    def params(self) -> int:
        return sum(layer.params for layer in self.all_layers)

    @property
    def float_bytes(self) -> int:
        return sum(layer.bytes for layer in self.all_layers)

    @property
    def macs(self) -> int | None:
        """MACs of one sample, with batch norm folded; None if a layer's count is not known."""
        counts = [layer.macs for layer in self.layers]
        return None if None in counts else sum(c for c in counts if c is not None)


def read_network(settings: Settings, model: nn.Module | None = None) -> tuple[str, nn.Module]:
    """The network by name, or the one given, with its weights loaded; in eval mode."""
    network = load_network(settings.model) if model is None else model.eval()
    if settings.weights:
        network = load_weights(network, settings.weights)
    name = settings.model.rpartition(":")[2] or type(network).__name__
    return name, network


def input_shape(settings: Settings, data: Data | None) -> tuple[int, ...]:
    """The input's shape without batch: as --input says, or as the data have it."""
    if settings.input_shape:
        if len(settings.input_shape) < 2 or min(settings.input_shape) < 1:
            raise UsageError(f"--input {settings.input_shape} is no input shape", "it has the batch first", "--input 1x3x224x224")
        return settings.input_shape[1:]
    if data is None:
        raise UsageError("the input's shape is not known", "there are no data to read it from", "give --input 1x3x224x224, or --data")
    return next(iter(data.parts().values())).sample_shape


def read(settings: Settings, model: nn.Module | None = None, data: Data | None = None) -> tuple[Source, Data]:
    """Network and data, checked against each other."""
    if data is None:
        if not settings.data:
            raise UsageError(
                "there are no data",
                "calibration needs samples like those of training",
                "give --data FILE.npz, a folder with --recipe, or FILE.py:FUNCTION",
            )
        data = read_data(settings.data, settings.recipe or None, settings.input_shape or None, settings.seed)
    else:
        data = checked(data, settings.input_shape or None, settings.seed)
    name, network = read_network(settings, model)
    source = inspect(name, network, input_shape(settings, data))
    check_parts(source, data, settings.metric)
    if data.calibration is None:
        raise BadInputError(
            "there is no calibration sample", "the data have no part that may be used for it", "add x (unlabelled) or x_train to the data"
        )
    warnings = [w.text for w in check_inputs(network, first(data.calibration, 256))]
    return Source(**{**vars(source), "warnings": (*source.warnings, *warnings)}), data


def check_parts(source: Source, data: Data, metric: str) -> None:
    """Every part has the network's input shape, and labels that its outputs can give. Raises BadInputError."""
    outputs = source.graph.shapes[source.graph.output]
    for name, part in data.parts().items():
        if part.sample_shape != source.shape:
            raise BadInputError(
                f"samples of {name} have the wrong shape",
                f"they are {'x'.join(map(str, part.sample_shape))}, the others or --input {'x'.join(map(str, source.shape))}",
                "give all parts the shape that the network takes",
            )
        if metric in ("", "accuracy") and part.y is not None and len(outputs) != 1:
            raise BadInputError(
                f"labels of {name} can't be scored by accuracy",
                f"they are class numbers, and an output is {'x'.join(map(str, outputs)) or 'one number'}, no scores of classes",
                "name another --metric (agreement, or FILE.py:FUNCTION)",
            )
        if metric in ("", "accuracy") and part.y is not None and len(outputs) == 1 and part.y.max() >= outputs[0]:
            raise BadInputError(
                f"label {int(part.y.max())} of {name} is out of range",
                f"the network has {outputs[0]} outputs, so its classes are 0 to {outputs[0] - 1}",
                "number the classes as the network does, or name another --metric",
            )


def inspect(name: str, network: nn.Module, shape: tuple[int, ...]) -> Source:
    """Survey, fold and capture a network."""
    check_one_input(network)
    example = torch.zeros(2, *shape)
    plain = plain_layers(network, shape)
    layers = survey(plain, example)
    folded, norms = folding(plain, example)
    unknown = [f"{w.name} ({w.kind}): its MACs are not known, so the total is not" for w in layers if w.macs is None]
    graph = trimmed(capture(folded, shape))
    return Source(name, network, plain, norms, folded, shape, survey(folded, example), layers, graph, tuple(unknown))


def first(split: Split, count: int) -> Iterator[Tensor]:
    """Batches of the inputs of the first ``count`` samples."""
    for batch, _ in split.batches(BATCH):
        yield batch[:count]
        count -= len(batch)
        if count <= 0:
            return


def gathered(split: Split, count: int) -> tuple[Tensor, Tensor | None]:
    """The first ``count`` samples at once, with their labels."""
    xs, ys = [], []
    for x, y in split.batches(BATCH):
        xs.append(x)
        if y is not None:
            ys.append(y)
        count -= len(x)
        if count <= 0:
            break
    over = count if count < 0 else None
    return torch.cat(xs)[:over], torch.cat(ys)[:over] if ys else None


def held_out(data: Data) -> tuple[Split, str]:
    """What results are reported on: the test part, else validation, else (and the report says so) the calibration samples."""
    parts = data.parts()
    name = next(n for n in ("test", "validation", "calibration") if n in parts)
    return parts[name], name


def channels_last(x: Tensor) -> Tensor:
    """Images channels last: torch's float convolutions on x86-64 take two thirds of the time (ResNet-20, batch 128: 1.6 s to 1.0 s)."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
