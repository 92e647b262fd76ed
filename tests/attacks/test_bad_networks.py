"""Networks that change themselves, draw lots or decide in Python: an error or a warning that names the module, the reason and the line."""
from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgelr.errors import UnsupportedError
from edgelr.graph import capture, run
from edgelr.models import check_inputs

SHAPE = (1, 8, 8)


class Net(nn.Module):
    """A convolution and what a test makes of its output: ``use(self, x, y)``."""

    def __init__(self, use: Callable[[Any, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.use = nn.Conv2d(1, 4, 3), use
        self.register_buffer("ema", torch.zeros(1))
        self.calls, self.seen, self.last = 0, [], None

    def forward(self, x: Tensor) -> Any:
        return self.use(self, x, self.conv(x))


def inside(use: Callable[[Any, Tensor, Tensor], Any]) -> nn.Module:
    """The net as module body.1 of another."""
    outer = nn.Sequential()
    outer.add_module("head", nn.Identity())
    outer.add_module("body", nn.Sequential(nn.Identity(), Net(use)))
    return outer.eval()


def counts(s: Net, x: Tensor, y: Tensor) -> Tensor:
    s.calls += 1
    return y


def appends(s: Net, x: Tensor, y: Tensor) -> Tensor:
    s.seen.append(y.mean())  # type: ignore[has-type]
    return y


def keeps(s: Net, x: Tensor, y: Tensor) -> Tensor:
    s.last = y  # type: ignore[assignment]
    return y


def adds_in_place(s: Net, x: Tensor, y: Tensor) -> Tensor:
    s.ema += 1
    return y


def tracks(s: Net, x: Tensor, y: Tensor) -> Tensor:
    s.ema.copy_(0.9 * s.ema + 0.1 * x.mean())
    return y


@pytest.mark.parametrize(("use", "changed"), [
    (counts, "attribute calls"), (appends, "attribute seen"), (keeps, "attribute last"), (adds_in_place, "buffer ema"),
    (tracks, "buffer ema"),
])
def test_state_that_no_output_needs_is_left_out_warned_of_and_put_back(use: Any, changed: str) -> None:
    net, x = inside(use), torch.randn(3, *SHAPE)
    inner: Any = net.get_submodule("body.1")
    graph = capture(net, SHAPE)
    assert (inner.calls, inner.seen, inner.last, float(inner.ema)) == (0, [], None, 0.0)
    with torch.no_grad():
        assert torch.allclose(run(graph, x), inner.conv(x), atol=1e-6)
    (told,) = [w.text for w in check_inputs(net, [x]) if w.kind == "state"]
    assert f"body.1 (Net) changes its {changed}" in told


def multiplies(s: Net, x: Tensor, y: Tensor) -> Tensor:
    s.calls += 1
    return y * s.calls


def decays(s: Net, x: Tensor, y: Tensor) -> Tensor:
    s.ema.mul_(0.9).add_(0.1)
    return y * s.ema


def rebinds(s: Net, x: Tensor, y: Tensor) -> Tensor:
    s.ema = s.ema + y.mean()
    return y + s.ema


def shrinks(s: Net, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        s.conv.weight.mul_(0.5)
    return y


def replaces(s: Net, x: Tensor, y: Tensor) -> Tensor:
    s.conv.weight.data = s.conv.weight.data * 0.5
    return y


@pytest.mark.parametrize(("use", "where", "changed"), [
    (multiplies, "body.1", "attribute calls"), (decays, "body.1", "buffer ema"), (rebinds, "body.1", "buffer ema"),
    (shrinks, "body.1.conv", "parameter weight"), (replaces, "body.1.conv", "parameter weight"),
])
def test_state_that_the_output_depends_on_is_refused_and_put_back(use: Any, where: str, changed: str) -> None:
    net = inside(use)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(UnsupportedError) as told:
        capture(net, SHAPE)
    assert f"{where}: the output depends on earlier calls" in told.value.what
    assert f"{where} (" in told.value.why and f"changes its {changed}" in told.value.why and "self.training" in told.value.try_
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.get_submodule("body.1").calls == 0


@pytest.mark.parametrize("use", [
    lambda s, x, y: y + torch.randn_like(y),
    lambda s, x, y: y * torch.rand(1),  # a constant to torch.export
    lambda s, x, y: y * random.random(),
    lambda s, x, y: F.dropout(y, 0.5),  # as in training, whatever the mode
])
def test_a_network_that_draws_lots_is_refused_by_module(use: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"body\.1: the same input gives another output") as told:
        capture(inside(use), SHAPE)
    assert "random numbers" in told.value.why and "self.training" in told.value.try_


def test_dropout_of_the_module_draws_nothing_in_eval_mode() -> None:
    assert [n.op for n in capture(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), (4,)).nodes]


def branches(s: Net, x: Tensor, y: Tensor) -> Tensor:
    if y.sum() > 0:
        return y.relu()
    return y


def loops(s: Net, x: Tensor, y: Tensor) -> Tensor:
    for _ in range(int(y.abs().sum())):
        y = y * 0.5
    return y


def asserts(s: Net, x: Tensor, y: Tensor) -> Tensor:
    assert x.max() < 100
    return y


@pytest.mark.parametrize(("use", "line"), [
    (branches, "if y.sum() > 0:"), (loops, "for _ in range(int(y.abs().sum())):"), (asserts, "assert x.max() < 100"),
])
def test_data_dependent_python_is_refused_with_its_module_and_line_and_dumps_nothing(use: Any, line: str) -> None:
    shown = io.StringIO()
    with redirect_stderr(shown), pytest.raises(UnsupportedError) as told:
        capture(inside(use), SHAPE)
    error = told.value
    assert "can't be captured" in error.what and "body.1 (Net)" in error.what and "data-dependent" in error.why
    assert f"test_bad_networks.py, line {use.__code__.co_firstlineno + 1}: {line}" in error.why
    assert "\n" not in error.what + error.why + error.try_ and shown.getvalue() == ""
    assert "def forward" in error.detail and "GuardOnDataDependentSymNode" in error.detail  # the whole of it, for the log


PROGRAM = """
import torch
from torch import nn
from edgelr.errors import UnsupportedError
from edgelr.graph import capture


class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else x.relu()


for net, shape in ((Branch(), (4,)), (nn.Linear(5, 3), (4,))):
    try:
        capture(net, shape)
    except UnsupportedError as error:
        print(error.what)
"""


def test_torch_s_log_doesn_t_reach_the_terminal(tmp_path: Path) -> None:
    """In a process of its own, where torch's log goes to the real stderr and no setting quietens it."""
    (tmp_path / "program.py").write_text(PROGRAM, "utf-8")
    settings = {k: v for k, v in os.environ.items() if k != "TORCH_LOGS"} | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, str(tmp_path / "program.py")], capture_output=True, text=True, env=settings, check=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 2 and "it fails on an input of shape 2x4" in done.stdout


class Hidden(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() * 2)


def test_what_leaves_torch_is_refused_with_its_module_and_line() -> None:
    with pytest.raises(UnsupportedError) as told:
        capture(nn.Sequential(nn.Identity(), nn.ModuleDict({"a": Hidden()})["a"]), SHAPE)
    assert "torch.export fails in 1 (Hidden)" in told.value.what and "torch.from_numpy" in told.value.why and len(told.value.why) < 400


class Attached(nn.Module):
    """Refused by torch.export after forward() has run: no line of it is to blame."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        self.scale.data = self.scale.data * 1.0
        return x * self.scale


def test_without_a_line_the_smallest_part_that_fails_is_found() -> None:
    deep = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.ReLU(), nn.Sequential(nn.Identity(), Attached())))
    with pytest.raises(UnsupportedError, match=r"torch.export fails in 1\.1\.1 \(Attached\)"):
        capture(deep, SHAPE)


def test_an_operation_without_a_form_is_named_with_its_line() -> None:
    with pytest.raises(UnsupportedError) as told:
        capture(inside(lambda s, x, y: torch.cumsum(y, 1)), SHAPE)
    assert "body.1: operation cumsum" in told.value.what and "test_bad_networks.py, line" in told.value.why
    assert "replace" in told.value.try_ and "before or behind the file" in told.value.try_


class TwoIn(nn.Module):
    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image * mask


@pytest.mark.parametrize(("make", "words"), [
    (TwoIn, "takes 2 inputs: image, mask"),
    (lambda: inside(lambda s, x, y: {"boxes": y, "scores": x}), "returns 2 tensors: boxes (4x6x6), scores (1x8x8)"),
    (lambda: inside(lambda s, x, y: (y, [x])), "returns 2 tensors: 0 (4x6x6), 1.0 (1x8x8)"),
    (lambda: inside(lambda s, x, y: None), "returns no tensor: NoneType"),
    (lambda: inside(lambda s, x, y: s.conv.weight), "doesn't depend on its input"),
])
def test_other_than_one_tensor_in_and_out_is_told_by_names(make: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(UnsupportedError) as told:
        capture(make(), SHAPE)
    assert words in told.value.what and told.value.why and told.value.try_


def test_a_batch_that_changes_the_result_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="something else for 3 samples"):
        capture(inside(lambda s, x, y: y if len(x) < 3 else y * 2), SHAPE)


def frozen(s: Net, x: Tensor, y: Tensor) -> Tensor:
    return y * 3 if torch.compiler.is_compiling() or torch.compiler.is_exporting() else y


def test_a_network_that_computes_something_else_while_it_is_captured_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="other outputs than forward"):
        capture(inside(frozen), SHAPE)


def no_gradients(s: Net, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return s.conv(x)


def writes_a_mask(s: Net, x: Tensor, y: Tensor) -> Tensor:
    mask = torch.ones(4, 1, 1)
    mask[2] = 0
    return y * mask


def doubles_its_input(s: Net, x: Tensor, y: Tensor) -> Tensor:
    x.mul_(2)
    return s.conv(x)


def clips_its_weights(s: Net, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        s.conv.weight.clamp_(-0.1, 0.1)
    return s.conv(x)


@pytest.mark.parametrize("use", [no_gradients, writes_a_mask, doubles_its_input, clips_its_weights])
def test_harmless_python_is_captured_as_it_computes_and_the_network_stays_as_it_was(use: Any) -> None:
    net, x = inside(use), torch.randn(3, *SHAPE)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    capture(net, SHAPE)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    with torch.no_grad():
        assert torch.allclose(run(capture(net, SHAPE), x), net(x.clone()), atol=1e-5)
