"""The integer grid: calibration, integer weights, and the integer run of the graph."""
from edgelr.graph.arithmetic import quantize_weights
from edgelr.quantization.calibrate import Quantized, calibrate, observe, quantize
from edgelr.quantization.grids import grid_of
from edgelr.quantization.observers import Method
from edgelr.quantization.simulate import simulate, simulate_integers, step

__all__ = [
    "Method", "Quantized", "calibrate", "grid_of", "observe", "quantize", "quantize_weights", "simulate", "simulate_integers", "step",
]
