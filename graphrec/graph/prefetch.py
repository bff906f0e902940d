"""Rows of memory asked for ahead of their use, in compiled loops that jump about: the processor guesses only runs."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_LINE = 64  # bytes of a cache line


@intrinsic
def _prefetch(_typing: Any, array: Any, position: Any) -> Any:
    """Ask for the cache line that holds the element at a position of a contiguous array, counted flat."""
    if not isinstance(array, types.Array):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte = ir.IntType(8).as_pointer()
        address = builder.bitcast(builder.gep(held.data, [arguments[1]]), byte)
        word = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, word, word, word]), "llvm.prefetch.p0i8"
        )
        # for reading as much as for writing: a line that is written is read first
        builder.call(function, [address, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@njit(cache=True, nogil=True, error_model="numpy")
def prefetch_row(matrix, row):  # type: ignore[no-untyped-def]
    """Ask for a row of a contiguous matrix."""
    width = matrix.shape[1]
    for k in range(0, width, _LINE // matrix.itemsize):
        _prefetch(matrix, row * width + k)


@njit(cache=True, nogil=True, error_model="numpy")
def prefetch(array, position):  # type: ignore[no-untyped-def]
    """Ask for the line of one element of a contiguous array."""
    _prefetch(array, position)
