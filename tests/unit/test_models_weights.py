"""Weights: all of them, of the right shape and finite, or the network stays as it was."""
from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from edgelr.errors import BadInputError
from edgelr.models import load_weights


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(t, b.state_dict()[n]) for n, t in a.state_dict().items())


@pytest.mark.parametrize("wrap", [
    lambda s: s,
    lambda s: {"state_dict": s, "epoch": 3},
    lambda s: {"model": s, "optimizer": {"lr": 0.1}},
    lambda s: {"model_state_dict": {f"module.{n}": t for n, t in s.items()}},
])
def test_the_common_forms_of_a_checkpoint_are_unwrapped(tmp_path: Path, wrap: object) -> None:
    source = net()
    torch.save(wrap(source.state_dict()), tmp_path / "w.pt")  # type: ignore[operator]
    assert same(load_weights(net(), tmp_path / "w.pt"), source)


def test_safetensors_round_trips_and_half_precision_becomes_float32(tmp_path: Path) -> None:
    source = net()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert same(load_weights(net(), tmp_path / "w.safetensors"), source)
    save_file({n: t.half() if t.is_floating_point() else t for n, t in source.state_dict().items()}, tmp_path / "h.safetensors")
    model = load_weights(net(), tmp_path / "h.safetensors")
    assert model[0].weight.dtype == torch.float32  # type: ignore[index, union-attr]
    assert torch.equal(model[0].weight, source[0].weight.half().float())  # type: ignore[index]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight


def test_a_tied_weight_may_be_stored_once_and_not_as_two_that_differ(tmp_path: Path) -> None:
    source = Tied()
    save_model(source, str(tmp_path / "w.safetensors"))
    assert same(load_weights(Tied(), tmp_path / "w.safetensors"), source)
    torch.save({"a.weight": torch.zeros(3, 3), "b.weight": torch.ones(3, 3)}, tmp_path / "w.pt")
    with pytest.raises(BadInputError, match=r"b\.weight and a\.weight differ"):
        load_weights(Tied(), tmp_path / "w.pt")


def changed(name: str, value: Tensor | None) -> dict[str, Tensor]:
    state = {n: t.clone() for n, t in net().state_dict().items()}
    if value is None:
        del state[name]
    else:
        state[name] = value
    return state


NAN = torch.zeros(4, 3, 3, 3)
NAN[1, 2, 0, 1] = NAN[3, 0, 0, 0] = float("nan")


@pytest.mark.parametrize(("state", "words"), [
    (changed("0.weight", None), ("missing: 0.weight (4, 3, 3, 3)",)),
    (changed("head.weight", torch.zeros(2)), ("not in the network: head.weight (2,)",)),
    (changed("0.weight", torch.zeros(5, 3, 3, 3)), ("0.weight", "expected (4, 3, 3, 3), found (5, 3, 3, 3)")),
    (changed("0.weight", NAN), ("0.weight holds nan", "2 of 108", "index (1, 2, 0, 1)")),
    (changed("1.running_var", torch.tensor([1.0, float("inf"), 1, 1])), ("1.running_var holds inf", "1 of 4", "index (1,)")),
    (changed("0.bias", torch.full((4,), 1e300, dtype=torch.float64)), ("0.bias", "not finite in float32")),
    (changed("0.weight", torch.zeros(4, 3, 3, 3, dtype=torch.int8)), ("0.weight holds torch.int8",)),
])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_each_misfit_is_named_and_the_network_left_alone(
    tmp_path: Path, state: dict[str, Tensor], words: tuple[str, ...], suffix: str,
) -> None:
    path = tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    model = net()
    before = copy.deepcopy(model)
    with pytest.raises(BadInputError) as told:
        load_weights(model, path)
    assert all(word in str(told.value) for word in words) and same(model, before)


def test_the_counter_of_batch_norm_may_be_absent(tmp_path: Path) -> None:
    source = net()
    save_file({n: t for n, t in source.state_dict().items() if "num_batches" not in n}, tmp_path / "w.safetensors")
    assert torch.equal(load_weights(net(), tmp_path / "w.safetensors")[0].weight, source[0].weight)  # type: ignore[index]


def test_a_missing_file_and_another_kind_of_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no weights file"):
        load_weights(net(), tmp_path / "w.safetensors")
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(BadInputError, match="not a weights file"):
        load_weights(net(), tmp_path / "w.onnx")
