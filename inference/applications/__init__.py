"""What trained programs are used for: one file an application, each a function on any program."""

from .anomalies import KINDS, anomaly_scores, likelihood_regret, typicality
from .detection import ROC, roc
from .imputation import Imputation, impute

__all__ = [
    "KINDS",
    "ROC",
    "Imputation",
    "anomaly_scores",
    "impute",
    "likelihood_regret",
    "roc",
    "typicality",
]
