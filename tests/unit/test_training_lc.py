"""Learning-compression: the C step in training, the penalty and its multipliers, and the plan that training finds."""
from __future__ import annotations

import itertools

import pytest
import torch
from lowrank_sample import accuracy, fit, trained_net, with_spectrum
from torch import Tensor, nn

from edgelr.factorize import choice_cost, max_rank
from edgelr.models import survey
from edgelr.ranks import Table, all_dense_total, meets
from edgelr.training import LcSettings, LearningCompression
from edgelr.training.method import Matrix
from edgelr.vocabulary import DENSE, Candidate, Choice, Plan
