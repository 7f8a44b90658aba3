"""Scans in NIfTI files with a table of ages, and generated phantoms in their place."""

from rankgrad.data.nifti.augment import RandomMoves
from rankgrad.data.nifti.dataset import ScanDataset
from rankgrad.data.nifti.folder import list_images
from rankgrad.data.nifti.phantoms import write_phantoms
from rankgrad.data.nifti.problems import DataError, Problem
from rankgrad.data.nifti.scan import Scan, Scans
from rankgrad.data.nifti.scans import read_scans

__all__ = [
    "DataError",
    "Problem",
    "RandomMoves",
    "Scan",
    "ScanDataset",
    "Scans",
    "list_images",
    "read_scans",
    "write_phantoms",
]
