"""Training: the one loop, distillation, and quantisation-aware fine-tuning of the graph that is written."""
from edgelr.training.augment import augmentation
from edgelr.training.batches import Batch, Batches, Shuffled
from edgelr.training.bsr import Bsr, BsrSettings
from edgelr.training.checkpoint import Checkpoint
from edgelr.training.distill import Outputs, distillation, divergence, outputs_of, supervised
from edgelr.training.fake_run import FakeQuantized
from edgelr.training.lc import LcSettings, LearningCompression
from edgelr.training.loop import train
from edgelr.training.lrpet import Lrpet, LrpetSettings
from edgelr.training.method import PLAIN, Method, matrices
from edgelr.training.parallel import ALONE, World
from edgelr.training.precision import Precision, forward_of
from edgelr.training.progress import Progress
from edgelr.training.qat import QatSettings, qat, suitable_rate
from edgelr.training.rank_tuning import RankTuning
from edgelr.training.recalibrate import recalibrate
from edgelr.training.schedule import Schedule
from edgelr.training.stacked import aims
from edgelr.training.timing import epochs_within, step_seconds
from edgelr.training.workers import Work, call, joined, leave, several

__all__ = [
    "ALONE", "PLAIN", "Batch", "Batches", "Bsr", "BsrSettings", "Checkpoint", "FakeQuantized", "LcSettings", "LearningCompression",
    "Lrpet", "LrpetSettings", "Method", "Outputs", "Precision", "Progress", "QatSettings", "RankTuning", "Schedule", "Shuffled", "Work",
    "World", "aims", "augmentation", "call", "distillation", "divergence", "epochs_within", "forward_of", "joined", "leave", "matrices",
    "outputs_of", "qat", "recalibrate", "several", "step_seconds", "suitable_rate", "supervised", "train",
]
