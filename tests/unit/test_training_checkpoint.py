"""A training that is interrupted and resumed ends in the same bytes; a checkpoint that isn't its own is refused."""
from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lowrank_sample import PLAN, digits, small_net
from torch import nn

from edgelr.errors import BadInputError, UsageError
from edgelr.training import (
    PLAIN,
    Bsr,
    Checkpoint,
    Lrpet,
    LrpetSettings,
    Method,
    Progress,
    RankTuning,
    Schedule,
    Shuffled,
    augmentation,
    keeper,
    matrices,
    supervised,
    train,
)
from edgelr.training.checkpoint import Saved, read, write

SGD = Schedule(2, "sgd", weight_decay=1e-3, nesterov=True, clip=1.0)  # gradients are cut all the time
STEPS = 10  # of an epoch


@pytest.fixture(autouse=True)
def _at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LEAST_BETWEEN", 0.0)


class Stopped(Exception):  # noqa: N818
    pass


def fit(
    path: Path | None,
    stop: int | None = None,
    schedule: Schedule = SGD,
    method_of: Callable[[nn.Module], Method] = lambda net: PLAIN,
    size: int = 20,
    words: tuple[str, str] = ("teacher", "none"),
    tell: Callable[[Progress], None] = lambda progress: None,
    seed: int = 0,
    seconds: float = 0.0,
) -> tuple[nn.Module, int]:
    """A network with batch norm and dropout after training, and how many steps were taken; an error before step ``stop`` is kept."""
    net = small_net()
    net.insert(10, nn.Dropout(0.2))
    x, y = digits()
    taken = 0

    def after_step() -> None:
        nonlocal taken
        taken += 1
        if stop is not None and taken == stop:
            raise Stopped

    checkpoint = None if path is None else Checkpoint(path, seconds, dict([words]))
    train([(0.02, list(net.parameters()))], supervised(net, None, "scores"),
          Shuffled(x[: size * STEPS], y[: size * STEPS], size, 3, augmentation((1, 8, 8))), schedule, tell, after_step,
          method=method_of(net), net=net, checkpoint=checkpoint, seed=seed)
    return net, taken


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


METHODS: dict[str, Callable[[nn.Module], Method]] = {
    "plain": lambda net: PLAIN,
    "bsr": lambda net: Bsr(matrices(net, PLAN_SHIFTED)),
    "lrpet": lambda net: Lrpet(matrices(net, PLAN_SHIFTED), {}, LrpetSettings()),
    "rank-tuning": lambda net: RankTuning(matrices(net, PLAN_SHIFTED)),
}
PLAN_SHIFTED = replace(PLAN, choices={{"10": "11"}.get(name, name): choice for name, choice in PLAN.choices.items()})


@pytest.mark.parametrize("stop", [4, 11, 17])
@pytest.mark.parametrize("schedule", [SGD, replace(SGD, optimizer="adamw")], ids=["sgd", "adamw"])
def test_resumed_within_an_epoch_or_between_two_it_ends_in_the_same_bytes(schedule: Schedule, stop: int, tmp_path: Path) -> None:
    whole, _ = fit(None, schedule=schedule)
    with pytest.raises(Stopped):
        fit(tmp_path / "state", stop, schedule)
    torch.rand(7)  # what else the program draws doesn't matter
    resumed, taken = fit(tmp_path / "state", schedule=schedule)
    assert taken == 2 * STEPS - (stop - 1) and same(whole, resumed)


@pytest.mark.parametrize("method_of", METHODS.values(), ids=METHODS)
def test_a_method_goes_on_where_it_was(method_of: Callable[[nn.Module], Method], tmp_path: Path) -> None:
    whole, _ = fit(None, method_of=method_of)
    with pytest.raises(Stopped):
        fit(tmp_path / "state", 14, method_of=method_of)
    assert same(whole, fit(tmp_path / "state", method_of=method_of)[0])


def test_a_training_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path / "state")
    again, taken = fit(tmp_path / "state")
    assert taken == 0 and same(whole, again)


def test_the_seed_decides_what_dropout_draws_and_nothing_else_does() -> None:
    one, (other, _) = fit(None)[0], fit(None, seed=1)
    torch.rand(3)
    assert same(one, fit(None)[0]) and not same(one, other)


def test_the_program_s_own_draws_go_on_as_if_there_had_been_no_training() -> None:
    weight, before = torch.zeros((), requires_grad=True), torch.get_rng_state()
    train([(0.1, [weight])], lambda batch: weight * torch.rand(()), Shuffled(digits()[0], None, 500), SGD)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("change", "told"), [
    ({"schedule": replace(SGD, weight_decay=1e-2)}, "the schedule's weight_decay was 0.001, is 0.01"),
    ({"schedule": replace(SGD, epochs=3)}, "the schedule's epochs was 2, is 3"),
    ({"size": 19}, "the first batch was"),
    ({"method_of": METHODS["bsr"]}, "the method was Plain, is Bsr"),
    ({"words": ("teacher", "another")}, "teacher was none, is another"),
    ({"words": ("student", "x")}, "student was not told, is x; teacher was none, is not told"),
    ({"seed": 5}, "the seed was 0, is 5"),
])  # fmt: skip
def test_the_checkpoint_of_another_training_is_refused_with_what_differs(change: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(tmp_path / "state", 4)
    before = (tmp_path / "state").read_bytes()
    with pytest.raises(UsageError, match="of another training") as error:
        fit(tmp_path / "state", **change)  # type: ignore[arg-type]
    assert told in error.value.why
    assert (tmp_path / "state").read_bytes() == before


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" * 100, lambda data: data[8:]])
def test_a_damaged_checkpoint_is_an_error_that_names_it(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(tmp_path / "state", 4)
    (tmp_path / "state").write_bytes(damage((tmp_path / "state").read_bytes()))
    with pytest.raises(BadInputError, match=r"state can't be read(.|\n)*delete it"):
        fit(tmp_path / "state")


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file grows beyond 50 kB: a write fails in its middle, as on a full disk."""
    held, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, held[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, held)
    signal.signal(signal.SIGXFSZ, action)


def test_where_the_disk_is_full_training_goes_on_says_so_and_keeps_the_last_file(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with pytest.raises(Stopped):
        fit(tmp_path / "state", 4)
    before = (tmp_path / "state").read_bytes()
    whole, _ = fit(None)
    heard: list[Progress] = []
    request.getfixturevalue("small_disk")
    assert same(whole, fit(tmp_path / "state", tell=heard.append)[0])
    assert "can't write the checkpoint" in heard[-1].note and heard[-1].note in str(heard[-1])
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {"state": before}


@pytest.mark.parametrize(("seconds", "between", "at"), [(1e9, 0.0, [10, 20, 30]), (0.0, 1e9, [1, 30]), (0.0, 0.0, list(range(1, 31)))])
def test_files_are_written_at_epochs_ends_and_by_the_clock_but_not_too_often(
    seconds: float, between: float, at: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(keeper, "LEAST_BETWEEN", between)
    written: list[int] = []

    def seen(path: Path, saved: Saved) -> None:
        written.append(saved.numbers["step"])
        write(path, saved)

    monkeypatch.setattr(keeper, "write", seen)
    fit(tmp_path / "state", schedule=replace(SGD, epochs=3), seconds=seconds)
    assert written == at


def test_tensors_come_back_with_their_values_and_their_order_in_memory(tmp_path: Path) -> None:
    held = {"image": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last), "turned": torch.randn(4, 3).T,
            "part": torch.randn(6, 6)[:, :2], "one": torch.tensor(7), "none": torch.zeros(0, 3)}
    write(tmp_path / "state", Saved(held, {"step": 3, "typical": 0.1 + 0.2}, {"a": "b"}))
    found = read(tmp_path / "state", {"a": "b"})
    assert found is not None and found.numbers == {"step": 3, "typical": 0.1 + 0.2}
    assert all(torch.equal(found.tensors[name], t) and found.tensors[name].dtype == t.dtype for name, t in held.items())
    assert [found.tensors[name].stride() for name in ("image", "turned")] == [held["image"].stride(), held["turned"].stride()]
