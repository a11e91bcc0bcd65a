"""Kernels that other kernels call by a symbol.

Numba copies what a kernel calls into the kernel, and LLVM optimises the copy again, at each level of calls. With a
large function that is called from deep inside, this takes seconds. A call by a symbol takes no copy.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import Any

from llvmlite import binding
from numba import typeof, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic


class Native:
    """A kernel that other kernels call.

    Args:
        kernel: the kernel.

    Attributes:
        call: for numba kernels, the kernel itself.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._symbols: dict[tuple[Any, ...], str] = {}  # for the types of the arguments
        self.call = self._intrinsic()

    def load(self, *arguments: Any) -> None:
        """Compile or load the kernel for such arguments. Call this before its callers are compiled or loaded."""
        kinds = tuple(map(typeof, arguments))
        if kinds not in self._symbols:
            self._kernel.compile(kinds)
            code = self._kernel.overloads[kinds]
            address = code.library.get_pointer_to_function(code.fndesc.llvm_func_name)
            name = f"{self._kernel.__module__}.{self._kernel.__qualname__}"
            self._symbols[kinds] = f"{name}_{sha256(repr(kinds).encode()).hexdigest()[:16]}"
            binding.add_symbol(self._symbols[kinds], address)

    def _intrinsic(self) -> Any:
        @intrinsic
        def call(typing, *arguments):  # type: ignore[no-untyped-def]
            if arguments not in self._symbols:
                raise TypingError(f"expected {self._kernel.__qualname__} to be loaded for {arguments}")
            result = self._kernel.overloads[arguments].signature.return_type
            return result(types.StarArgTuple(arguments)), partial(_emit_call, self._symbols[arguments])

        return call


def _emit_call(symbol: str, context: Any, builder: Any, signature: Any, values: Any) -> Any:
    result, kinds = signature.return_type, tuple(signature.args[0])
    convention = context.call_conv
    function = cgutils.get_or_insert_function(builder.module, convention.get_function_type(result, kinds), symbol)
    arguments = cgutils.unpack_tuple(builder, values[0])
    status, value = convention.call_function(builder, function, result, kinds, arguments)
    with cgutils.if_unlikely(builder, status.is_error):
        convention.return_status_propagate(builder, status)
    return value
