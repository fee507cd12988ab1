"""What latents are worth as features: probes beside the raw data, and maps in two dimensions."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pyro_vae.batches import check_tensors
from pyro_vae.checks import check_sizes
from pyro_vae.inference.evaluation import encode
from pyro_vae.program import Program

__all__ = ["latents", "linear_probe", "nearest_neighbours", "projected"]


def latents(
    program: Program, x: Tensor, y: Tensor | None = None, *, batch_size: int = 500
) -> dict[str, Tensor]:
    """The latents of each datum, as `encode` gives them, a batch at a time.

    Those that all data share are left out.

    Args:
        program: The trained program.
        x: Data, (N, *x_shape).
        y: Their labels, for a program `model(x, y)`.
        batch_size: Data in one run.

    Returns:
        Tensors (N, ...) on the CPU, by the names of the sites.

    Raises:
        ValueError: If the guide draws no latent for each datum.
    """
    check_tensors(x, y)
    check_sizes(batch_size=batch_size)
    parts = [
        {name: z.cpu() for name, z in encode(program, *batch).items() if z.dim()}
        for batch in zip(*[t.split(batch_size) for t in (x, y) if t is not None], strict=True)
    ]
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    found = {name: z for name, z in found.items() if len(z) == len(x)}
    if not found:
        raise ValueError(
            "the guide draws no latent with a row for each datum; draw one in "
            'pyro.plate("data", len(x))'
        )
    return found


def linear_probe(train: Tensor, y_train: Tensor, test: Tensor, y_test: Tensor) -> Tensor:
    """Whether a logistic regression on some features finds the class of each of others.

    Features are standardized by those of the training data; its penalty is scikit-learn's.

    Args:
        train: Features, (N, ...), which are flattened.
        y_train: Their classes, integers (N,); -1 is a missing one, and left out.
        test: Features, (M, ...).
        y_test: Their classes, likewise.

    Returns:
        1.0 or 0.0 for each of the test data that have a class, float64; its mean is the accuracy.

    Raises:
        ValueError: If there are not two classes to learn, or none to test.
    """
    from sklearn.linear_model import LogisticRegression

    return _probe(LogisticRegression(max_iter=2000), train, y_train, test, y_test)


def nearest_neighbours(
    train: Tensor, y_train: Tensor, test: Tensor, y_test: Tensor, *, neighbours: int = 5
) -> Tensor:
    """Whether most of the nearest neighbours of each datum are of its class.

    Args:
        train: As of `linear_probe`, and standardized as there.
        y_train: Likewise.
        test: Likewise.
        y_test: Likewise.
        neighbours: How many vote.

    Returns:
        As `linear_probe`.

    Raises:
        ValueError: As `linear_probe`.
    """
    from sklearn.neighbors import KNeighborsClassifier

    check_sizes(neighbours=neighbours)
    return _probe(KNeighborsClassifier(neighbours), train, y_train, test, y_test)


def projected(z: Tensor, *, kind: str = "pca", seed: int = 0) -> Tensor:
    """Features in two dimensions, for a map.

    Args:
        z: Features, (N, ...), which are flattened.
        kind: `"pca"`, the plane of most variance; `"tsne"`, t-SNE of scikit-learn, and `"umap"`,
            where the package umap-learn is installed, which keep neighbours beside each other, and
            no distances.
        seed: Of the random numbers of the last two.

    Returns:
        Points (N, 2).

    Raises:
        ValueError: If there is no such kind, or fewer than three data.
    """
    if kind not in _PROJECTIONS:
        known = ", ".join(map(repr, _PROJECTIONS))
        raise ValueError(f"kind must be one of {known}, but is {kind!r}")
    if len(z) < 3:
        raise ValueError(f"a map takes three data or more, but there are {len(z)}")
    z = _flat(z)
    if z.shape[1] < 2:
        z = torch.cat([z, torch.zeros_like(z)], 1)
    return _PROJECTIONS[kind](z, seed).float()


def _probe(
    classifier: object, train: Tensor, y_train: Tensor, test: Tensor, y_test: Tensor
) -> Tensor:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (train, y_train), (test, y_test) = _known(train, y_train), _known(test, y_test)
    if len(y_train.unique()) < 2:
        raise ValueError(
            f"a probe learns to tell classes apart, but the {len(y_train)} training data with a "
            f"label are of {len(y_train.unique())}; give data of two or more"
        )
    if not len(y_test):
        raise ValueError("none of the test data has a label, so nothing can be tested")
    pipeline = make_pipeline(StandardScaler(), classifier)
    pipeline.fit(train.numpy(), y_train.numpy())
    guessed = torch.from_numpy(pipeline.predict(test.numpy()))
    return (guessed == y_test).double()


def _known(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The features and classes of data that have a class."""
    if y.is_floating_point() or y.shape != z.shape[:1]:
        raise ValueError(
            f"features are {tuple(z.shape)} and labels {tuple(y.shape)} {y.dtype}, but expected "
            "(N, ...) and classes (N,), integers"
        )
    z, y = z.detach().cpu(), y.cpu()
    return _flat(z[y >= 0]), y[y >= 0]


def _flat(z: Tensor) -> Tensor:
    return z.detach().cpu().flatten(1).double().nan_to_num()


def _pca(z: Tensor, seed: int) -> Tensor:
    z = z - z.mean(0)
    return z @ torch.linalg.svd(z, full_matrices=False).Vh[:2].mT


def _tsne(z: Tensor, seed: int) -> Tensor:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(z) - 1) / 3)
    found = TSNE(perplexity=perplexity, random_state=seed, init="pca").fit_transform(z.numpy())
    return torch.from_numpy(found)


def _umap(z: Tensor, seed: int) -> Tensor:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ValueError(
            "kind='umap' needs the package umap-learn: pip install umap-learn; 'tsne' needs none"
        ) from error
    return torch.from_numpy(UMAP(random_state=seed).fit_transform(z.numpy()))


_PROJECTIONS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "pca": _pca,
    "tsne": _tsne,
    "umap": _umap,
}
