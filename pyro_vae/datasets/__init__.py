"""Data sets: functions that return real data as tensors, already split for training and testing."""

from .bible import kjv
from .data_source import DataSource, Tensors
from .dataset import Dataset
from .digit_images import digit_columns, digits
from .files import arrays
from .fixed_binarization import binarized_mnist
from .idx import fashion_mnist, mnist
from .label_choice import only_labels, without_labels
from .mixed_table import table
from .molecules import smiles, zinc
from .names import names
from .photographs import cifar10, frey_faces, lfw_faces
from .pictures import folder
from .split import Split
from .sprites import Sprites, sprites
from .tables import adult, letter, spam
from .texts import text
from .vocabulary import Vocabulary

__all__ = [
    "DataSource",
    "Dataset",
    "Split",
    "Sprites",
    "Tensors",
    "Vocabulary",
    "adult",
    "arrays",
    "binarized_mnist",
    "cifar10",
    "digit_columns",
    "digits",
    "fashion_mnist",
    "folder",
    "frey_faces",
    "kjv",
    "letter",
    "lfw_faces",
    "mnist",
    "names",
    "only_labels",
    "smiles",
    "spam",
    "sprites",
    "table",
    "text",
    "without_labels",
    "zinc",
]
