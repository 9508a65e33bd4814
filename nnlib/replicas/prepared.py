"""A data set made ready once: checked, hashed, and in the form that the compiled engine takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nnlib.core.training import check_set
from nnlib.errors import InputError
from nnlib.records import what
from nnlib.validation import pair

if TYPE_CHECKING:
    from nnlib.engine.layout import CSR


class PreparedSet:
    """Examples and their labels.

    Parameters
    ----------
    examples : (X, Y), X (features, m) float32 or float64 and one-hot Y (classes, m)
    layers_dims : of the networks that it is for
    like : a set whose precision it takes

    Attributes
    ----------
    X, Y : tensors on the CPU
    digest : SHA-256 of X and Y, their types and shapes

    Raises
    ------
    InputError
        If they are no set for such networks; the message names X or Y.
    """

    def __init__(self, examples: Any, layers_dims: Sequence[int], like: PreparedSet | None = None) -> None:
        X, Y = check_set(*pair(examples, "X, Y"), layers_dims)
        precision = X.dtype if like is None else like.X.dtype
        self.X: Tensor = X.to("cpu", precision)
        self.Y: Tensor = Y.to("cpu", precision)
        if self.X.dtype != X.dtype and not bool(self.X.isfinite().all()):
            raise InputError(f"X: expected numbers that {what(self.X)} can hold, got {X.abs().max():g}")
        self.digest = self._sha256()

    def _sha256(self) -> str:
        found = hashlib.sha256()
        for array in (self.X, self.Y):
            found.update(f"{array.dtype} {tuple(array.shape)}".encode())
            found.update(array.contiguous().numpy().data)
        return found.hexdigest()

    def check_unchanged(self) -> None:
        """Raise an InputError if X or Y is not as it was given: what was computed from it would not belong to it."""
        if self._sha256() != self.digest:
            raise InputError("X, Y: expected to be as they were given, got changed in place; give a copy (X.clone())")

    @property
    def examples(self) -> int:
        return self.X.shape[1]

    @cached_property
    def csr(self) -> CSR:
        # Numba takes a quarter of a second to import; if all is in the store, nobody waits for it.
        from nnlib.engine.layout import to_csr

        csr = to_csr(self.X, self.Y)
        self.check_unchanged()
        return csr
