"""Data sets: functions that return real data as tensors, already split for training and testing."""

from .data_source import DataSource, Tensors
from .dataset import Dataset
from .digit_images import digit_columns, digits
from .files import arrays
from .fixed_binarization import binarized_mnist
from .idx import fashion_mnist, mnist
from .photographs import cifar10, frey_faces, lfw_faces
from .pictures import folder
from .split import Split
from .tables import adult, letter, spam

__all__ = [
    "DataSource",
    "Dataset",
    "Split",
    "Tensors",
    "adult",
    "arrays",
    "binarized_mnist",
    "cifar10",
    "digit_columns",
    "digits",
    "fashion_mnist",
    "folder",
    "frey_faces",
    "letter",
    "lfw_faces",
    "mnist",
    "spam",
]
