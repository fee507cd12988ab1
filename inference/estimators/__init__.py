"""The estimators of the bound, one file a bound, and what they share."""

from .adversarial import Adversarial
from .dip_vae import DIPVAE_I, DIPVAE_II
from .dreg import DReG
from .elbo import Trace_ELBO, TraceMeanField_ELBO
from .enumerated import TraceEnum_ELBO
from .estimator import Estimator, describes_formula, with_gradient
from .factor_vae import FactorVAE
from .factor_weights import Weight
from .formula import Addend, Formula, elbo, observed, rates, shared, weighed
from .gan_losses import Hinge, Minimax, NonSaturating
from .iwae import IWAE
from .losses import check_has_value, check_loss, has_value, is_linear, judged_by, total_of
from .miwae import CIWAE, MIWAE, PIWAE
from .mmd import IMQ, MMD, RBF
from .notation import Notation, SiteDensity, coefficient, symbol
from .pyros_particles import check_particles
from .renyi import Renyi
from .score_function import LeaveOneOut, MovingAverage, ScoreFunction
from .stl import STL
from .total_correlation import TotalCorrelation
from .vaegan import VAEGAN
from .vimco import VIMCO
from .wake_sleep import ReweightedWakeSleep

__all__ = [
    "Addend",
    "Adversarial",
    "CIWAE",
    "DIPVAE_I",
    "DIPVAE_II",
    "DReG",
    "Estimator",
    "FactorVAE",
    "Formula",
    "Hinge",
    "IMQ",
    "IWAE",
    "LeaveOneOut",
    "MIWAE",
    "MMD",
    "Minimax",
    "MovingAverage",
    "NonSaturating",
    "Notation",
    "PIWAE",
    "RBF",
    "Renyi",
    "ReweightedWakeSleep",
    "STL",
    "ScoreFunction",
    "SiteDensity",
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
    "elbo",
    "is_linear",
    "observed",
    "rates",
    "shared",
    "symbol",
    "judged_by",
    "coefficient",
    "describes_formula",
    "total_of",
    "weighed",
    "with_gradient",
]
