"""SVI and `fit`: what is trained, by which optimizer, on which batches, for how long."""

from .adam import AdamInGraph, take_step
from .fit import fit
from .generators import generators_state, set_generators_state
from .guide_steps import Aggressive, check_guide_steps
from .optimizer import check_arguments, check_clip_norm
from .penalty import Penalty, check_penalty
from .plate_scale import Counts
from .progress import Fit, Progress
from .site_rates import line_of_rates
from .spectral import Spectral
from .svi import SVI
from .training_data import check_counts, has_labels, training_batches

__all__ = [
    "AdamInGraph",
    "Aggressive",
    "Counts",
    "Fit",
    "Penalty",
    "Progress",
    "SVI",
    "Spectral",
    "check_arguments",
    "check_clip_norm",
    "check_counts",
    "check_guide_steps",
    "check_penalty",
    "fit",
    "generators_state",
    "has_labels",
    "line_of_rates",
    "set_generators_state",
    "take_step",
    "training_batches",
]
