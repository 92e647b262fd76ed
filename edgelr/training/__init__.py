"""Training: the one loop, distillation, and quantisation-aware fine-tuning of the graph that is written."""
from edgelr.training.batches import Batch, Batches, Shuffled
from edgelr.training.bsr import Bsr, BsrSettings
from edgelr.training.distill import distillation, divergence, outputs_of
from edgelr.training.fake_run import FakeQuantized
from edgelr.training.lc import LcSettings, LearningCompression
from edgelr.training.loop import train
from edgelr.training.lrpet import Lrpet, LrpetSettings
from edgelr.training.method import PLAIN, Method, matrices
from edgelr.training.progress import Progress
from edgelr.training.qat import QatSettings, qat, suitable_rate
from edgelr.training.rank_tuning import RankTuning
from edgelr.training.recalibrate import recalibrate
from edgelr.training.schedule import Schedule

__all__ = [
    "PLAIN", "Batch", "Batches", "Bsr", "BsrSettings", "FakeQuantized", "LcSettings", "LearningCompression", "Lrpet", "LrpetSettings",
    "Method", "Progress", "QatSettings", "RankTuning", "Schedule", "Shuffled", "distillation", "divergence", "matrices", "outputs_of",
    "qat", "recalibrate", "suitable_rate", "train",
]
