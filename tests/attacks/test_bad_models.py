"""Weights files that are damaged or hostile, and networks that are very deep or very long."""
from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgelr.errors import BadInputError, EdgelrError
from edgelr.models import check_inputs, fold_batch_norm, load_network, load_weights, survey


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


def tarred(value: Any, path: Path) -> None:
    raw = pickle.dumps(value)
    with tarfile.open(path, "w") as file:
        for name in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            file.addfile(entry, io.BytesIO(raw))


@pytest.mark.parametrize("write", [
    lambda v, p: torch.save(v, p),
    lambda v, p: torch.save({"state_dict": {"weight": torch.zeros(2, 2), "x": v}}, p),
    lambda v, p: torch.save(v, p, _use_new_zipfile_serialization=False),
    lambda v, p: p.write_bytes(pickle.dumps(v)),
    tarred,
])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_pickle_that_would_run_a_command_doesn_t(tmp_path: Path, write: Any, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    write(Canary(tmp_path / "canary"), path)
    with pytest.raises(BadInputError) as told:
        load_weights(nn.Linear(2, 2), path)
    assert not (tmp_path / "canary").exists()
    assert "safetensors" in told.value.try_ and "weights_only" not in str(told.value)


def test_whole_modules_and_exported_programs_are_refused_with_advice(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    (tmp_path / "program.pt2").write_bytes(b"PK\x03\x04")
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "renamed.pt2")
    (tmp_path / "renamed.pt").write_bytes((tmp_path / "renamed.pt2").read_bytes())
    for name in ("module.pt", "program.pt2", "renamed.pt2", "renamed.pt"):
        with pytest.raises(BadInputError) as told:
            load_weights(nn.Linear(2, 2), tmp_path / name)
        assert "state dict" in told.value.try_, name


def header(table: Any, data: bytes = b"", length: int | None = None) -> bytes:
    raw = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(shape: list[Any], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


CASES: dict[str, tuple[bytes, str]] = {
    "header of 2^63": (header({}, length=2**63), "limit is"),
    "header of 101 MB": (header(b"{}" + b" " * 1000, length=101_000_000), "limit is"),
    "header past the end": (header(b"{}", length=1000), "truncated"),
    "overlap": (header({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)), "overlap"),
    "hole": (header({"a": entry([2], 0, 8), "b": entry([2], 12, 20)}, bytes(20)), "hole"),
    "duplicate key": (header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
                             bytes(4)), "twice"),
    "not UTF-8": (header(b'{"\xff\xfe":{}}'), "UTF-8"),
    "not JSON": (header(b"{oops}"), "not JSON"),
    "deep JSON": (header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "not JSON"),
    "size against dtype": (header({"a": entry([2], 0, 4)}, bytes(4)), "need 8 bytes"),
    "unknown dtype": (header({"a": entry([2], 0, 2, "F8_E4M3")}, bytes(2)), "dtype"),
    "dtype of no kind": (header({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "dtype"),
    "negative": (header({"a": entry([-2], 0, 8)}, bytes(8)), "no sense"),
    "no offsets": (header({"a": {"dtype": "F32", "shape": [1]}}), "lacks"),
    "data missing": (header({"a": entry([4], 0, 16)}, bytes(8)), "truncated"),
    "data left over": (header({"a": entry([1], 0, 4)}, bytes(8)), "nothing"),
    "huge shape": (header({"a": entry([2**62, 2**62], 0, 4)}, bytes(4)), "bytes"),
    "a million empty tensors": (header({f"t{i}": entry([0], 0, 0) for i in range(1_000_000)}), "more than 100,000 tensors"),
    "empty file": (b"", "0 bytes"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_broken_rule_of_safetensors_has_its_own_error(tmp_path: Path, case: str) -> None:
    raw, words = CASES[case]
    (tmp_path / "w.safetensors").write_bytes(raw)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(BadInputError) as told:
        load_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    assert words in told.value.why
    assert time.monotonic() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", "legacy.pt"])
def test_every_truncation_is_a_typed_error(tmp_path: Path, suffix: str) -> None:
    state, path = network().state_dict(), tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path, _use_new_zipfile_serialization=suffix == ".pt")
    good, model = path.read_bytes(), network()
    for cut in np.linspace(0, len(good) - 1, 200).astype(int):
        path.write_bytes(good[:cut])
        with pytest.raises(BadInputError):
            load_weights(model, path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_flipped_bits_end_in_weights_or_a_typed_error(tmp_path: Path, suffix: str) -> None:
    state, path = network().state_dict(), tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    good, draw, model = path.read_bytes(), np.random.default_rng(0), network()
    for _ in range(300):
        raw = bytearray(good)
        raw[draw.integers(len(raw))] ^= 1 << draw.integers(8)
        path.write_bytes(bytes(raw))
        try:
            load_weights(model, path)
        except EdgelrError:
            continue


def test_an_archive_with_damaged_names_is_a_typed_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as file:
        file.writestr("archive/data.pkl", b"nonsense")
    with pytest.raises(BadInputError):
        load_weights(network(), tmp_path / "w.pt")


def test_ten_thousand_modules_are_surveyed_in_ten_seconds() -> None:
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(10_000)])
    start = time.monotonic()
    layers = survey(model, torch.zeros(1, 2))
    assert time.monotonic() - start < 10
    assert len(layers) == 10_000 and layers[-1].name == "9999" and sum(layer.params for layer in layers) == 60_000


def nested(depth: int) -> nn.Module:
    inner: nn.Module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    for _ in range(depth):
        inner = nn.Sequential(inner)
    return inner


def test_a_depth_of_500_is_no_recursion_error(tmp_path: Path) -> None:
    model, x = nested(500).eval(), torch.randn(16, 2)
    assert len(survey(model, x)) == 2
    assert check_inputs(model, [x])[0].kind == "unchecked"
    folded = fold_batch_norm(model, x)
    assert len(survey(folded, x)) == 1
    torch.save(dict(flat_state(model)), tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt")
    (tmp_path / "deep.py").write_text(
        "from torch import nn\ndef net():\n    m = nn.Linear(2, 2)\n    for _ in range(500):\n        m = nn.Sequential(m)\n    return m\n")
    assert not load_network(f"{tmp_path}/deep.py:net").training


def flat_state(model: nn.Module) -> list[tuple[str, Tensor]]:
    """The state dict, without torch's own recursion."""
    found, stack = [], [("", model)]
    while stack:
        prefix, module = stack.pop()
        own = {**module._parameters, **module._buffers}
        found += [(prefix + name, tensor.detach()) for name, tensor in own.items() if tensor is not None]
        stack += [(f"{prefix}{name}.", child) for name, child in module.named_children()]
    return found


def test_a_depth_beyond_the_limit_is_told() -> None:
    with pytest.raises(BadInputError, match="1000 modules deep"):
        survey(nested(5000), torch.zeros(1, 2))
