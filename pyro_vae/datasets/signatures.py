"""What a file is by how it begins, whatever its name says."""

from pathlib import Path

__all__ = ["PICTURES", "another_kind"]

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# How files begin, and the endings under which they are read all the same.
_SIGNATURES = (
    (b"\x93NUMPY", "an .npy file", (".npy",)),
    (b"PK\x03\x04", "a zip archive, as .npz and .pt files are", (".npz", ".pt", ".pth")),
    (b"\x89HDF\r\n", "an HDF5 file", ()),
    (b"\x89PNG\r\n", "a PNG picture", PICTURES),
    (b"\xff\xd8\xff", "a JPEG picture", PICTURES),
    (b"II*\0", "a TIFF picture", PICTURES),
    (b"MM\0*", "a TIFF picture", PICTURES),
    (b"GIF8", "a GIF picture", PICTURES),
    (b"\x1f\x8b", "a gzip file", (".gz",)),
    (b"MATLAB 5.0", "a MATLAB file", ()),
    (b"PAR1\x15", "a Parquet file", ()),
    (b"%PDF-", "a PDF", ()),
    (b"\xff\xfe", "a text in UTF-16", ()),
    (b"version https://git-lfs", "a pointer of Git LFS, not the data", ()),
    (b"<!doctype html", "a web page", ()),
    (b"<html", "a web page", ()),
)


def another_kind(path: Path) -> str | None:
    """What the file is, if it begins like one of another ending."""
    with open(path, "rb") as file:
        start = file.read(32)
    for signature, kind, endings in _SIGNATURES:
        alike = start.startswith(signature) or start.lower().startswith(signature)
        if alike and path.suffix.lower() not in endings:
            return kind
    return None
