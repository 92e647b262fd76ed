"""Bad input on the command line: each its own error, with the contract's exit code, what, why and what to try; nothing half-written."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attack_tools import assert_refused, call, compress, entries
from journey_sample import SHORT, arrays, edgelr, network, trained, words
from safetensors.torch import save_file

from edgelr.errors import BadInputError, Exit


def test_a_budget_that_can_t_be_met_says_the_least_that_can(inputs: Path, tmp_path: Path) -> None:
    done = edgelr("compress", *words(inputs, "--budget", "3KB", "--allow-slower", "-o", str(tmp_path / "out"), *SHORT, "-q"))
    assert_refused(done, Exit.BUDGET, "budget can't be met", "3.0 KB as .tflite asked", "is the least", "why: ")
    assert entries(tmp_path) == {}


def test_the_least_that_can_is_then_met(inputs: Path, tmp_path: Path) -> None:
    import edgelr as library
    from edgelr import BudgetError

    asked = {
        "weights": str(inputs / "w.safetensors"),
        "allow_slower": True,
        "formats": ("onnx",),
        "method": "additive",
        "score_samples": 64,
    }
    with pytest.raises(BudgetError) as told:
        library.compress(f"{inputs}/net.py:tiny", f"{inputs}/d.npz", budget="1KB", **asked)
    least = told.value.least["bytes:onnx"]
    assert library.compress(f"{inputs}/net.py:tiny", f"{inputs}/d.npz", budget=f"{least + 300:.0f}B", **asked).met


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--budget", "half"), "can't read the budget 'half'"),
        (("--target", "raspbery"), "Unknown target 'raspbery'"),
        (("--method", "best"), "unknown method 'best'"),
        (("--scheme", "tucker"), "unknown scheme 'tucker'"),
        (("--format", "onnx,coreml"), "unknown format 'coreml'"),
        (("--format", ","), "no format"),
        (("--input", "3xx4"), "can't read the shape"),
        (("--metric", "f7"), "unknown metric 'f7'"),
        (("--recipe", "cifra10"), "cifra10"),
        (("--seed", "-1"), "--seed"),
        (("--no-such-option",), "--no-such-option"),
        (("--score-samples", "0"), "--score-samples"),
    ],
)
def test_a_wrong_word_is_a_usage_error_that_repeats_it(inputs: Path, tmp_path: Path, more: tuple[str, ...], told: str) -> None:
    done = compress(inputs, tmp_path / "out", *more)
    assert done.code == Exit.USAGE and told in done.err and "Traceback" not in done.err and done.out == ""
    assert entries(tmp_path) == {}


@pytest.mark.parametrize("left_out", ["--budget", "-o", "--data"])
def test_what_is_left_out_is_named(inputs: Path, tmp_path: Path, left_out: str) -> None:
    given = {"--data": f"{inputs}/d.npz", "--budget": "50%KB", "-o": f"{tmp_path}/out"}
    done = edgelr("compress", f"{inputs}/net.py:tiny", *(w for k, v in given.items() if k != left_out for w in (k, v)), "-q")
    assert_refused(done, Exit.USAGE, left_out)


BROKEN_NETS = {
    "branch": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        y = self.layer(x)
        return y.relu() if y.sum() > 0 else y
""",
        ("can't be captured", "data-dependent", "forward()"),
    ),
    "odd_op": (
        """
class Odd(nn.Module):
    def forward(self, x):
        return torch.cumsum(x, 1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), Odd(), nn.Flatten(), nn.Linear(144, 4))

    def forward(self, x):
        return self.body(x)
""",
        ("cumsum", "body.1"),
    ),
    "two_outputs": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, x):
        return self.a(x), self.b(x)
""",
        ("returns 2 tensors",),
    ),
    "two_inputs": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3)

    def forward(self, image, mask):
        return self.layer(image) * mask
""",
        ("takes 2 inputs: image, mask",),
    ),
    "other_shape": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 4))

    def forward(self, x):
        return self.layer(x)
""",
        ("1", "8"),
    ),
    "crash": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        raise RuntimeError("no weights at hand")
""",
        ("no weights at hand",),
    ),
    "nothing": (
        """
class Net:
    pass
""",
        ("Module",),
    ),
    "nan_inside": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 4))
        self.layer[0].weight.data[0] = float("nan")

    def forward(self, x):
        return self.layer(x)
""",
        ("not finite",),
    ),
}


@pytest.mark.parametrize("kind", BROKEN_NETS)
def test_a_network_that_can_t_be_used_is_refused_with_its_reason(inputs: Path, tmp_path: Path, kind: str) -> None:
    text, told = BROKEN_NETS[kind]
    (tmp_path / "net.py").write_text(f"import torch\nfrom torch import nn\n\n{text}\n\ndef made():\n    return Net()\n", "utf-8")
    before = entries(tmp_path)
    done = call(f"{tmp_path}/net.py:made", "", inputs / "d.npz", "-o", str(tmp_path / "out"))
    assert_refused(done, Exit.BAD_INPUT, *told, "why: ")
    assert entries(tmp_path) == before


def test_all_that_a_library_said_is_in_the_log_that_the_error_names(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(f"import torch\nfrom torch import nn\n\n{BROKEN_NETS['branch'][0]}\n", "utf-8")
    done = call(f"{tmp_path}/net.py:Net", "", inputs / "d.npz", "-o", str(tmp_path / "out"))
    log = Path(done.err.partition("\n  log: ")[2].strip())
    assert "line 12: return y.relu() if y.sum() > 0 else y" in done.err
    assert "GuardOnDataDependentSymNode" in log.read_text("utf-8") and "GuardOnDataDependentSymNode" not in done.err
    log.unlink()


def test_data_and_network_given_in_python_are_looked_through_too() -> None:
    import edgelr as library
    from edgelr.data import Data, Split

    x = arrays()["x_train"]
    with pytest.raises(BadInputError, match="sample 7 of train holds NaN"):
        library.quantize(network(), Data(train=Split(_nan(x.copy()))))
    with pytest.raises(BadInputError, match="a ndarray is no"):
        library.quantize(network(), x)  # type: ignore[arg-type]
    assert library.quantize(network(), Data(train=Split(x)), formats=("onnx",)).artifacts  # no calibration part: drawn from train


@pytest.mark.parametrize(
    ("model", "code", "told"),
    [
        ("{0}/nowhere.py:tiny", Exit.BAD_INPUT, "nowhere.py"),
        ("{0}/net.py:tinny", Exit.USAGE, "tiny"),
        ("{0}/net.py", Exit.USAGE, "FILE.py:FUNCTION"),
        ("no_such_package.nets:tiny", Exit.BAD_INPUT, "no_such_package"),
        ("timm:no_such_net_at_all", Exit.USAGE, "timm"),
    ],
)
def test_a_network_that_is_not_there_is_named(inputs: Path, tmp_path: Path, model: str, code: Exit, told: str) -> None:
    done = call(model.format(inputs), "", inputs / "d.npz", "-o", str(tmp_path / "out"))
    assert_refused(done, code, told)
    assert entries(tmp_path) == {}


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


def bad_weights(kind: str, folder: Path) -> Path:
    state, path = {k: v.clone() for k, v in trained().items()}, folder / "bad.safetensors"
    if kind == "missing":
        return path
    if kind == "pickle":
        (folder / "bad.pt").write_bytes(pickle.dumps(Canary(folder / "canary")))
        return folder / "bad.pt"
    if kind == "torch pickle":
        torch.save({"0.weight": Canary(folder / "canary")}, folder / "bad.pth")
        return folder / "bad.pth"
    if kind == "nan":
        state["3.weight"][1, 2, 0, 0] = float("nan")
    elif kind == "shape":
        state["3.weight"] = torch.zeros(48, 32, 5, 5)
    elif kind == "lacking":
        del state["6.weight"]
    save_file(state, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", "bad.safetensors"),
        ("pickle", "bad.pt"),
        ("torch pickle", "safetensors"),
        ("nan", "3.weight"),
        ("shape", "3.weight"),
        ("lacking", "6.weight"),
        ("truncated", "truncated"),
    ],
)
def test_weights_that_can_t_be_used_are_refused_and_run_nothing(inputs: Path, tmp_path: Path, kind: str, told: str) -> None:
    weights = bad_weights(kind, tmp_path)
    before = entries(tmp_path)
    done = call(f"{inputs}/net.py:tiny", weights, inputs / "d.npz", "-o", str(tmp_path / "out"))
    assert_refused(done, Exit.BAD_INPUT, told, "why: ")
    assert entries(tmp_path) == before  # the canary was not touched either


def _with(name: str, value: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    return {**arrays(), name: value(arrays()[name])}


def _nan(x: np.ndarray) -> np.ndarray:
    x[7, 0, 1, 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: _with("x_train", lambda x: x[:0]), "no samples"),
        (lambda: _with("x_train", _nan), "sample 7 of train holds NaN"),
        (lambda: {k: v[:, :, :6] if k[0] == "x" else v for k, v in arrays().items()}, ""),
        (lambda: {k: np.repeat(v, 3, 1) if k[0] == "x" else v for k, v in arrays().items()}, "shape"),
        (lambda: _with("x_test", lambda x: x[:, :, :5, :5]), "test"),
        (lambda: _with("y_test", lambda y: y[:-1]), "191 labels for 192 samples"),
        (lambda: _with("y_test", lambda y: y + 4), "label"),
        (lambda: {"x_test": arrays()["x_test"], "y_test": arrays()["y_test"]}, "only a test part"),
        (lambda: {"pictures": arrays()["x_train"]}, "pictures"),
        (lambda: {"x_train": arrays()["x_train"].astype(np.uint8)}, "uint8"),
    ],
)
def test_data_that_can_t_be_used_are_refused(inputs: Path, tmp_path: Path, made: Callable[[], dict[str, np.ndarray]], told: str) -> None:
    np.savez(tmp_path / "bad.npz", **made())
    before = entries(tmp_path)
    done = call(f"{inputs}/net.py:tiny", inputs / "w.safetensors", tmp_path / "bad.npz", "-o", str(tmp_path / "out"))
    if told == "":  # 6x8 is a shape that this network takes: global pooling
        assert done.code == 0
        return
    assert_refused(done, Exit.BAD_INPUT, told)
    assert entries(tmp_path) == before


def test_data_that_are_not_there_are_named(inputs: Path, tmp_path: Path) -> None:
    for data, code in (("nowhere.npz", Exit.BAD_INPUT), ("nowhere", Exit.BAD_INPUT), (str(inputs), Exit.USAGE)):
        assert_refused(call(f"{inputs}/net.py:tiny", "", data, "-o", str(tmp_path / "out")), code, Path(data).name)
    assert entries(tmp_path) == {}


def test_labels_for_a_network_that_scores_no_classes_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef picture(): return nn.Conv2d(1, 3, 3, padding=1)\n", encoding="utf-8")
    np.savez(tmp_path / "d.npz", x_train=np.random.rand(32, 1, 8, 8).astype(np.float32), y_train=np.arange(32) % 3)
    done = edgelr("quantize", f"{tmp_path}/net.py:picture", "--data", f"{tmp_path}/d.npz", "-o", f"{tmp_path}/out")
    assert done.code == 3 and "can't be scored by accuracy" in done.err and "--metric" in done.err
