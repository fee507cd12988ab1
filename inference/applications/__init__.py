"""What trained programs are used for: one file an application, each a function on any program."""

from .anomalies import KINDS, anomaly_scores, likelihood_regret, typicality
from .augmentation import augment
from .detection import ROC, roc
from .imputation import Imputation, impute
from .representations import latents, linear_probe, nearest_neighbours, projected

__all__ = [
    "KINDS",
    "ROC",
    "Imputation",
    "anomaly_scores",
    "augment",
    "impute",
    "latents",
    "likelihood_regret",
    "linear_probe",
    "nearest_neighbours",
    "projected",
    "roc",
    "typicality",
]
