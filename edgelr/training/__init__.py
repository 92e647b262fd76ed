"""Training: the one loop, distillation, and quantisation-aware fine-tuning of the graph that is written."""
from edgelr.training.batches import Batch, Batches, Shuffled
from edgelr.training.distill import distillation, divergence, outputs_of
from edgelr.training.fake_run import FakeQuantized
from edgelr.training.loop import Progress, Schedule, train
from edgelr.training.qat import QatSettings, qat, suitable_rate

__all__ = [
    "Batch", "Batches", "FakeQuantized", "Progress", "QatSettings", "Schedule", "Shuffled", "distillation", "divergence", "outputs_of",
    "qat", "suitable_rate", "train",
]
