"""Reading a network: what each spelling gives, and what each mistake is told."""
from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from edgelr.errors import BadInputError, EdgelrError, Exit, UsageError
from edgelr.models import load_network

SOURCE = """
import helper_beside
from torch import nn
import torch

WIDTH = 3

def net():
    model = nn.Sequential(nn.Linear(helper_beside.N, 2), nn.BatchNorm1d(2)).double()
    return model.train()

def wants(width, *rest, depth=2):
    return nn.Linear(width, depth)

def number():
    return 7

def a_class():
    return nn.Linear

def fails():
    raise ValueError("no such width")

def lazy():
    return nn.Sequential(nn.LazyLinear(3))
"""


@pytest.fixture
def net_file(tmp_path: Path) -> Path:
    (tmp_path / "helper_beside.py").write_text("N = 5\n")
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return path


def test_a_file_s_function_gives_a_float32_network_in_eval_mode(net_file: Path) -> None:
    model = load_network(f"{net_file}:net")
    assert isinstance(model, nn.Module) and not any(m.training for m in model.modules())
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_two_files_of_one_name_don_t_mix(tmp_path: Path) -> None:
    for width in (1, 2):
        (tmp_path / str(width)).mkdir()
        (tmp_path / str(width) / "net.py").write_text(f"from torch import nn\ndef make():\n    return nn.Linear({width}, 1)\n")
    assert [load_network(f"{tmp_path}/{w}/net.py:make").in_features for w in (1, 2)] == [1, 2]


def test_a_module_of_a_package_is_found_by_its_dotted_name() -> None:
    assert isinstance(load_network("torch.nn:Identity"), nn.Identity)


@pytest.mark.parametrize(("name", "kind", "words"), [
    ("nett", UsageError, "did you mean net?"),
    ("WIDTH", UsageError, "not a function"),
    ("wants", UsageError, "needs arguments: width"),
    ("number", BadInputError, "a int"),
    ("a_class", BadInputError, "the class Linear"),
    ("fails", BadInputError, "no such width (net.py, line 22)"),
    ("lazy", BadInputError, "0.weight has no shape yet"),
])
def test_each_mistake_has_its_own_message(net_file: Path, name: str, kind: type[EdgelrError], words: str) -> None:
    with pytest.raises(kind) as told:
        load_network(f"{net_file}:{name}")
    assert words in str(told.value) and told.value.try_


@pytest.mark.parametrize(("spec", "code", "words"), [
    ("nowhere/net.py:net", Exit.BAD_INPUT, "no file nowhere/net.py"),
    ("edgelr_no_such_package:net", Exit.BAD_INPUT, "no module edgelr_no_such_package"),
    ("resnet20", Exit.USAGE, "FILE.py:FUNCTION"),
    ("net.py:", Exit.USAGE, "FILE.py:FUNCTION"),
])
def test_a_spec_that_leads_nowhere_is_told(spec: str, code: Exit, words: str) -> None:
    with pytest.raises(EdgelrError) as told:
        load_network(spec)
    assert told.value.exit_code == code and words in str(told.value)


@pytest.mark.parametrize("source", ["def net(:\n", "import edgelr_missing_library\n", "1 / 0\n"])
def test_a_file_whose_code_fails_is_named(tmp_path: Path, source: str) -> None:
    (tmp_path / "bad.py").write_text(source)
    with pytest.raises(BadInputError) as told:
        load_network(f"{tmp_path}/bad.py:net")
    assert "bad.py" in told.value.what and "line" in told.value.why


@pytest.mark.parametrize("zoo", ["timm", "torchvision"])
def test_a_zoo_that_is_not_installed_names_the_extra(zoo: str) -> None:
    if importlib.util.find_spec(zoo):
        pytest.skip(f"{zoo} is installed")
    with pytest.raises(UsageError, match="needs") as told:
        load_network(f"{zoo}:resnet18")
    assert told.value.try_ == f"pip install 'edgelr[{zoo}]'"
