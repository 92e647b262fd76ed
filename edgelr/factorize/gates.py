"""The gate matrices of nn.LSTM and nn.GRU, each as a layer of its own."""
from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional

GATES: dict[type[nn.Module], int] = {nn.LSTM: 4, nn.GRU: 3}


class Gates(nn.Module):
    """One gate matrix: ``weight`` [gates * hidden, inputs], all gates one above the other, and ``bias`` are the recurrent module's own.

    Its inputs are what the matrix reads in the network: the steps of its layer's input, or the hidden states before each step.
    """

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None, gates: int) -> None:
        super().__init__()
        self.weight, self.bias, self.gates = weight, bias, gates

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, self.weight, self.bias)


def gate_names(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Parameter names of each matrix and its bias, in torch's order: weight_ih_l0, weight_hh_l0, weight_ih_l0_reverse ...

    Only for a plain nn.LSTM or nn.GRU: a subclass may use its weights in ways of its own, weight norm computes them from others.
    """
    names = [name for name, _ in module.named_parameters(recurse=False)]
    if type(module) in GATES and all(f"weight_{part}_l0" in names for part in ("ih", "hh")):
        yield from ((name, name.replace("weight", "bias", 1)) for name in names if name.startswith(("weight_ih_", "weight_hh_")))


def gate_matrices(module: nn.Module) -> dict[str, Gates]:
    """The gate matrices of a plain nn.LSTM or nn.GRU by their parameters' names; none of any other module."""
    own = dict(module.named_parameters(recurse=False))
    return {weight: Gates(own[weight], own.get(bias), GATES[type(module)]) for weight, bias in gate_names(module)}


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """All modules by their qualified names, and all gate matrices: lstm.weight_ih_l0."""
    modules = dict(model.named_modules(remove_duplicate=False))
    found = dict(modules)
    for name, module in modules.items():
        found |= {f"{name}.{matrix}" if name else matrix: gates for matrix, gates in gate_matrices(module).items()}
    return found
