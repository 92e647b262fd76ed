"""Latency: what each operation of a written file costs, and from that what each choice of a layer costs."""
from .litert_ops import litert_op_times
from .machine import RUNTIMES, Here, Machine, pair, pairs
from .op_times import OpTimes
from .ort_ops import ort_op_times
from .prices import FORMATS, Prices, price, variants

__all__ = [
    "FORMATS", "RUNTIMES", "Here", "Machine", "OpTimes", "Prices", "litert_op_times", "ort_op_times", "pair", "pairs", "price", "variants",
]
