"""The estimators of the bound, one file a bound, and what they share."""

from .adversarial import Adversarial
from .dip_vae import DIPVAE_I, DIPVAE_II
from .dreg import DReG
from .elbo import Trace_ELBO, TraceMeanField_ELBO
from .enumerated import TraceEnum_ELBO
from .estimator import Estimator, describes_formula, with_gradient
from .factor_vae import FactorVAE
from .factor_weights import Weight
from .gan_losses import Hinge, Minimax, NonSaturating
from .iwae import IWAE
from .losses import check_has_value, check_loss, has_value, is_linear, judged_by, total_of
from .miwae import CIWAE, MIWAE, PIWAE
from .mmd import IMQ, MMD, RBF
from .pyros_particles import check_particles
from .renyi import Renyi
from .score_function import LeaveOneOut, MovingAverage, ScoreFunction
from .stl import STL
from .total_correlation import TotalCorrelation
from .vaegan import VAEGAN
from .vimco import VIMCO
from .wake_sleep import ReweightedWakeSleep

__all__ = [
    "Adversarial",
    "CIWAE",
    "DIPVAE_I",
    "DIPVAE_II",
    "DReG",
    "Estimator",
    "FactorVAE",
    "Hinge",
    "IMQ",
    "IWAE",
    "LeaveOneOut",
    "MIWAE",
    "MMD",
    "Minimax",
    "MovingAverage",
    "NonSaturating",
    "PIWAE",
    "RBF",
    "Renyi",
    "ReweightedWakeSleep",
    "STL",
    "ScoreFunction",
    "TotalCorrelation",
    "TraceEnum_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "VAEGAN",
    "VIMCO",
    "Weight",
    "check_has_value",
    "check_loss",
    "check_particles",
    "has_value",
    "is_linear",
    "judged_by",
    "describes_formula",
    "total_of",
    "with_gradient",
]
