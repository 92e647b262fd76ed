"""A report of a ResNet-20 on CIFAR-10, with layers in any number, for the tests of the report room."""
from __future__ import annotations

from dataclasses import replace

from edgelr.report import (
    Artifact,
    BudgetLine,
    Dense,
    Form,
    FrontierPoint,
    Latency,
    LayerLatency,
    LayerLine,
    Milliseconds,
    ModelFacts,
    OpGroup,
    Ops,
    Report,
    Reverted,
    Round,
    Search,
    Sensitivity,
    Source,
    Stage,
    TargetFacts,
    Training,
)
from edgelr.vocabulary import Score

HOST = "Intel Xeon, 2 cores"


def latency(runtime: str, median: float) -> Latency:
    return Latency(HOST, runtime, 1, Milliseconds(median, median * 0.98, median * 1.05, 200), "measured")


def layer(name: str, i: int, dense: bool = False) -> LayerLine:
    if dense:
        us, why = LayerLatency(12.4, 12.4, "measured"), "every factorised candidate is slower here"
        return LayerLine(name, "conv2d", (16, 16, 3, 3), "dense", None, 16, 2_359_296, 2_368, us, why)
    us, why = LayerLatency(21.0 + i % 7, 14.2 + i % 5, "measured"), "6.8 us faster for 0.4 % of its output's energy"
    return LayerLine(name, "conv2d", (64, 64, 3, 3), "channel", 24 + 8 * (i % 3), 64, 983_040, 15_552, us, why)


def sample(layers: int = 20, names: str = "stages.{}.conv1", **changes: object) -> Report:
    score = Score("accuracy", 0.9170, 10_000, "test")
    after = Score("accuracy", 0.9098, 10_000, "test")
    facts: dict[str, object] = {
        "edgelr": "0.1.0",
        "seed": 0,
        "versions": {"torch": "2.13.0", "numpy": "2.4.6", "onnxruntime": "1.31.1", "ai-edge-litert": "2.3.0"},
        "seconds": {"read": 0.4, "price": 38.2, "choose": 4.1, "rebuild": 0.6, "quantize": 6.6, "export": 0.3, "measure": 12.0},
        "model": ModelFacts("resnet_cifar.py:resnet20", ((1, 3, 32, 32),)),
        "target": TargetFacts("host", "litert", 1, HOST),
        "budgets": (
            BudgetLine("latency", 0.283, "ms", 0.279, "measured", HOST, "70%ms"),
            BudgetLine("size", 200.0, "KB", 191.3, "counted", "model.int8.tflite", "200KB"),
            BudgetLine("size", 200.0, "KB", 203.9, "counted", "model.int8.onnx", "200KB"),
        ),
        "source": Source(272_474, 40_813_184, 1_126_440, score, (latency("torch", 2.31),)),
        "dense": (
            Dense("tflite", 304_112, score, (latency("litert", 0.404),)),
            Dense("onnx", 318_244, score, (latency("onnxruntime", 0.612),)),
        ),
        "stages": (
            Stage("source", 272_474, 40_813_184, score),
            Stage("factorized", 171_370, 26_104_832, Score("accuracy", 0.9051, 10_000, "test")),
            Stage("trained", 171_370, 26_104_832, None),
            Stage("quantized", 171_370, 26_104_832, after, "simulated"),
        ),
        "layers": tuple(layer(names.format(i), i, i % 3 == 0) for i in range(layers)),
        "artifacts": (
            Artifact("model.int8.tflite", "tflite", 191_312, "ab" * 32, Ops(31, 0, 2), 0, after, 0.9712, 44.1, "integer run",
                     (latency("litert", 0.279),)),
            Artifact("model.int8.onnx", "onnx", 203_907, "0c" * 32, Ops(31, 0, 4), 0, after, 0.9714, float("inf"), "integer run",
                     (latency("onnxruntime", 0.466),)),
        ),
        "search": Search("beam", 412, 4.1, 0.0131, 0.021),
        "rounds": (
            Round(1, "litert", HOST, 0.262, 0.291), Round(1, "onnxruntime", HOST, 0.431, 0.455),
            Round(2, "litert", HOST, 0.281, 0.279), Round(2, "onnxruntime", HOST, 0.460, 0.466),
        ),
        "warnings": ("The first batch norm saw inputs 1.9 times as wide as in training: check the recipe.",),
        "command": "edgelr compress resnet_cifar.py:resnet20 --data cifar.npz --target host --budget 70%ms --budget 200KB -o out",
    }  # fmt: skip
    return Report(**{**facts, **changes})  # type: ignore[arg-type]


def precise(names: str = "blocks.{}.conv", **changes: object) -> Report:
    """The same with mixed precision, forms tried, training on the grid, and a float network timed in LiteRT."""
    plain = sample()
    slow = "hard-swish is slower on integers than in float"
    tflite = (
        OpGroup("CONV_2D", "int8", "", "", 24), OpGroup("DEQUANTIZE", "float", "choice", f"into float: {slow}", 3),
        OpGroup("HARD_SWISH", "float", "choice", slow, 3), OpGroup("QUANTIZE", "float", "choice", f"back from float: {slow}", 2),
        OpGroup("FULLY_CONNECTED", "dynamic", "choice", "--keep-float 'head'", 1),
    )
    onnx = (
        OpGroup("QuantizeLinear", "int8", "", "the file takes float32, and what reads it computes on integers", 1),
        OpGroup("Conv", "int8", "", "", 24), OpGroup("Pad", "float", "necessity", "ONNX Runtime computes Pad in float", 2),
        OpGroup("LayerNormalization", "float", "necessity", "neither runtime normalises layers on integers", 4),
    )
    facts: dict[str, object] = {
        "artifacts": (
            replace(plain.artifacts[0], ops=Ops(24, 8, 0, 1), accounting=tflite),
            replace(plain.artifacts[1], ops=Ops(25, 6, 0), accounting=onnx),
        ),
        "source": replace(plain.source, latency=(latency("torch", 2.31), latency("litert", 0.612))),
        "forms": (
            Form("tflite", "int8", False, "0.8 points below float", 191_000, 21.4, latency("litert", 0.251)),
            Form("tflite", "mixed", True, "fastest within 0.5 points", 191_312, 33.9, latency("litert", 0.279)),
            Form("tflite", "float", False, "slower", 702_004, float("inf"), latency("litert", 0.612)),
            Form("onnx", "int8", True, "fastest within 0.5 points", 203_907, 30.2),
        ),
        "sensitivity": tuple(
            Sensitivity(names.format(i), "Conv", None if i == 3 else 60.0 - 4 * i, 256, i == 8, f"--keep-float '{names.format(i)}'")
            for i in range(9)
        ),
        "reverted": (Reverted(names.format(8), 1.25, 0.5, "accuracy on validation, 500 samples"),),
        "training": Training("qat", 5, 4_096, 61.4, 0.1234, 0.04567),
    }  # fmt: skip
    return replace(plain, **{**facts, **changes})  # type: ignore[arg-type]


def frontier(formats: tuple[str, ...] = ("tflite", "onnx"), cost: str = "size") -> tuple[FrontierPoint, ...]:
    """ResNet-20 dense, compressed and at four shares, in float and int8; the compressed one was trained."""
    points = []
    for format in formats:
        runtime = "litert" if format == "tflite" else "onnxruntime"
        for plan, share, accuracy in (("dense", 1.0, 0.873), ("75%", 0.75, 0.871), ("compressed", 0.52, 0.861), ("50%", 0.5, 0.842),
                                      ("35%", 0.35, 0.702), ("25%", 0.25, 0.48)):  # fmt: skip
            for numbers, size, ms, lost in (("float", 1_100_000, 1.0, 0.0), ("int8", 304_000, 0.4, 0.002)):
                score = Score("accuracy", accuracy - lost, 1000, "validation")
                row = latency(runtime, round(ms * (0.35 + 0.65 * share), 4))
                points.append(FrontierPoint(plan, numbers, format, int(size * share), score, "measured", row,
                                            cost if plan.endswith("%") else "", plan == "compressed"))
    return tuple(points)
