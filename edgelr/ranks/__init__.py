"""Choose what each layer becomes. Pure: sees candidates, their costs and a score function, and nothing else.

A table holds the candidates of each layer. Limits are on total costs; base is what everything outside the table costs.
"""
from edgelr.ranks.beam import BeamResult as BeamResult
from edgelr.ranks.beam import TrailStep as TrailStep
from edgelr.ranks.beam import beam as beam
from edgelr.ranks.candidates import rank_candidates as rank_candidates
from edgelr.ranks.energy import energy as energy
from edgelr.ranks.exact import Additive as Additive
from edgelr.ranks.exact import additive as additive
from edgelr.ranks.learning_compression import c_step as c_step
from edgelr.ranks.learning_compression import c_step_at as c_step_at
from edgelr.ranks.learning_compression import threshold_rank as threshold_rank
from edgelr.ranks.rank_tuning import Tuned as Tuned
from edgelr.ranks.rank_tuning import rank_tuning as rank_tuning
from edgelr.ranks.scorer import FunctionScorer as FunctionScorer
from edgelr.ranks.scorer import Scorer as Scorer
from edgelr.ranks.summary import Search as Search
from edgelr.ranks.table import Base as Base
from edgelr.ranks.table import Limits as Limits
from edgelr.ranks.table import Table as Table
from edgelr.ranks.table import error_of as error_of
from edgelr.ranks.table import least as least
from edgelr.ranks.table import meets as meets
from edgelr.ranks.table import prune as prune
from edgelr.ranks.table import total as total
from edgelr.ranks.uniform import uniform as uniform
