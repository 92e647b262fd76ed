"""The page of what pays on a device, from its cells: rows that are not made yet are left out, and what is not trained yet is empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench_table import Cells, publish, table
from pays_plans import METHODS, RIVALS, SHARE, TARGETS, Counts, trained_key

Told = tuple[object, ...]
HEAD = ("target", "ranks by", "LiteRT ms (of dense)", "ONNX Runtime ms", "MMACs", "KB", "energy kept")


def page(chosen: Any, cells: Cells, counts: Counts) -> None:
    scores = cells.done["dense int8"]
    publish(
        chosen.out,
        "What pays on a device",
        sum(cells.seconds.values()),
        chosen.quick,
        f"Plans at {SHARE:.0%} of the dense int8 network's latency in LiteRT, one thread. Raspberry Pi: simulated by the shipped tables "
        "(their errors are on the targets' pages); host: measured, plan and dense network in turn. ms are those of the file as a whole. A "
        "plan is chosen by the sum of its layers' prices; where the whole is slower by more than 3 %, as on host, it is chosen anew under "
        "a lower limit, at most three times. Energy kept: of the weights, mean of all layers that could be factorised. uniform, energy and "
        "learning-compression (one direct C step) weigh each layer by its own weights, additive by what each choice alone does to the "
        "outputs; shared: layers of a group have one factor in common, ranks by the C step. Decompositions are of the weights alone.",
        "## VGG-16, CIFAR-10",
        f"Trained weights; int8 of the dense network: {scores['VGG-16']:.2%}. Before: float, {counts.selection:,} held-out training "
        f"images, no training. After: one epoch of {counts.trained:,} images, the .tflite in LiteRT on {counts.tested:,} test images.",
        table((*HEAD, "before (measured)", "after, int8 (measured)"), halves("VGG-16", cells)),
        "## ResNet-18, 224 x 224",
        "Random weights: there is no accuracy, and agreement with the dense network would say nothing of a trained one. The table shows "
        "which plans meet the limit and how much of the weights' energy they keep; spectra of trained weights fall faster. Without outputs "
        "that mean something, additive weighs each layer by its own weights here.",
        table(HEAD, (row[:7] for row in halves("ResNet-18", cells))),
        "## A VGG faster than a ResNet",
        "The first paper's claim (VGG-16 has 6.7 % error at 58 MMACs, ResNet-56 6.6 % at 125), put to the test in int8 milliseconds. Dense "
        "networks:",
        table(("target", "network", "LiteRT ms", "ONNX Runtime ms"), dense(cells)),
        f"VGG-16 at most as slow in LiteRT as the rival (C step on latency, one epoch of {counts.trained:,} images). Int8 accuracy of the "
        f"rivals: ResNet-20 {scores['ResNet-20']:.2%}; ResNet-56 was not trained here (He et al.: 93.03 %, float). LiteRT / ONNX Runtime.",
        table(("target", "rival", "rival's ms", "VGG-16's ms", "its MMACs", "before", "after, int8 (measured)"), beaten(cells)),
    )


def halves(name: str, cells: Cells) -> Iterator[Told]:
    """A row for each target and method."""
    for target in TARGETS:
        for method in METHODS:
            key = f"{name} {target} {method}"
            if key not in cells.done:
                continue
            c = cells.done[key]
            if c is None:
                yield target, method, "no plan", *("",) * 6
                continue
            lite = f"{c['tflite']['plan']:.3f} ({c['tflite']['plan'] / c['tflite']['dense']:.0%})"
            onnx = f"{c['onnx']['plan']:.3f} ({c['onnx']['plan'] / c['onnx']['dense']:.0%})"
            yield target, method, lite, onnx, f"{c['macs'] / 1e6:.1f}", f"{c['kb']:.0f}", f"{c['kept']:.1%}", before(c), after(c, cells)


def dense(cells: Cells) -> Iterator[Told]:
    for target in TARGETS:
        ms = cells.done.get(f"dense {target}", {"tflite": ()})
        for network in ms["tflite"]:
            yield target, network, f"{ms['tflite'][network]:.3f}", f"{ms['onnx'][network]:.3f}"


def beaten(cells: Cells) -> Iterator[Told]:
    for target in TARGETS:
        for rival in RIVALS:
            if f"faster {target} {rival}" not in cells.done:
                continue
            ms, c = cells.done[f"dense {target}"], cells.done[f"faster {target} {rival}"]
            rivals = f"{ms['tflite'][rival]:.3f} / {ms['onnx'][rival]:.3f}"
            if c is None:
                yield target, rival, rivals, "no plan", "", "", ""
            else:
                own = f"{c['tflite']['plan']:.3f} / {c['onnx']['plan']:.3f}"
                yield target, rival, rivals, own, f"{c['macs'] / 1e6:.1f}", before(c), after(c, cells)


def before(cell: dict[str, Any]) -> str:
    return f"{cell['before']:.2%}" if "before" in cell else ""


def after(cell: dict[str, Any], cells: Cells) -> str:
    key = trained_key(cell)
    return f"{cells.done[key]:.2%}" if key in cells.done else ""
