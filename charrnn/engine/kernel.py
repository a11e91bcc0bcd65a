"""`kernel`: functions compiled by numba, whose machine code is kept in the compile cache.

Numba's own disk cache has three weaknesses. It trusts the content of its files. It numbers data files in such a way
that two processes may take the same number. It fails when the disk fails. Here each file is sealed with a hash, no file
name is used twice, and places without room are skipped.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from threading import local
from typing import Any
from uuid import uuid4

from numba import njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler import CompileResult
from numba.core.sigutils import normalize_signature

from charrnn import cache
from charrnn.interrupt import deferred


def kernel(name: str = "", allocates: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator in place of numba's `njit`, with the same options, for functions that Python calls.

    Numba's runtime counts the references to each array, with an atomic instruction at nearly every mention of an
    array. A kernel that only uses arrays of its caller does not need these counts, so they are left out. Such a kernel,
    and what it calls, cannot make an array or assign one array to another: numba refuses it ("NRT required").

    Args:
        name: a name for what the function closes over, if it does. Functions with different code need different names.
        allocates: whether the kernel makes arrays, or assigns arrays to slices of others.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = njit(_nrt=allocates, **options)(_named(function, name))
        kept = KernelCache(function)
        dispatcher._cache, dispatcher.compile = kept, kept.around(dispatcher.compile)
        return dispatcher

    return decorate


def subroutine(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator in place of numba's `njit`, with the same options, for functions that kernels call.

    Numba would compile a function anew for each constant that is passed to it. Here it is compiled once for all
    integers.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = _without_wrappers(function, **options)
        compile_ = dispatcher.compile

        def compile_for_types(signature: Any) -> Any:
            return compile_(tuple(types.unliteral(kind) for kind in normalize_signature(signature)[0]))

        dispatcher.compile = compile_for_types
        return dispatcher

    return decorate


def inlined(name: str = "") -> Callable[[Callable[..., Any]], Any]:
    """A decorator for functions that kernels call: their code becomes part of the caller's.

    A call that passes all arrays of a layer takes as long as a small product.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        return _without_wrappers(_named(function, name), forceinline=True)

    return decorate


def _without_wrappers(function: Callable[..., Any], **options: Any) -> Any:
    """A function that kernels can call, and Python and C can't. The code for such calls would take long to compile."""

    def refuse(*_: Any, **__: Any) -> None:
        what = f"expected a kernel to call {function.__qualname__}, got a call from Python"
        raise TypeError(f"{what}; try {function.__qualname__}.py_func")

    dispatcher = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)
    dispatcher._insert, dispatcher._compile_for_args = lambda *_: None, refuse
    return dispatcher


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function with a unique name. The linker distinguishes functions by their names."""
    if name:
        function.__name__ = function.__qualname__ = f"{function.__name__}_{name}"
    return function


class Entries(IndexDataCacheFile):  # type: ignore[misc]
    """The files of one kernel in one place: an index of signatures, and the code of each.

    A damaged file counts as missing.
    """

    def __init__(self, place: cache.Place, name: str) -> None:
        super().__init__(cache_path=str(place.path), filename_base=name, source_stamp="")
        self._place = place

    def _load_index(self) -> Any:
        return {} if self._place.read(self._index_name) is None else super()._load_index()

    def _load_data(self, name: str) -> Any:
        if self._place.read(name) is None:
            raise FileNotFoundError(name)
        return super()._load_data(name)  # unpickling ignores the seal, which follows the content

    def _data_name(self, number: int) -> str:
        return str(super()._data_name(number)).replace(".nbc", f".{uuid4().hex[:8]}.nbc")

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        self._place.write(os.path.basename(filepath), content.getvalue())


class KernelCache(FunctionCache):  # type: ignore[misc]
    """A kernel's cache. Numba asks this cache for code before compilation, and gives it new code afterwards."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._py_func = function
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._thread = local()  # each thread has its own `compiling`, what ends with the compilation

    def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        """Numba's own key, but without what a function closes over. The function's name stands for that."""
        return signature, codegen.magic_tuple(), sha256(self._py_func.__code__.co_code).hexdigest()

    @property
    def cache_path(self) -> str:
        return str(cache.places()[0].path)

    def around(self, compile_: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Numba's method that loads or compiles a kernel; other processes and signals wait while it compiles."""

        def load_or_compile(signature: Any) -> Any:
            with ExitStack() as self._thread.compiling:
                return compile_(signature)

        return load_or_compile

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The compiled kernel, or None. In that case numba compiles it, while other processes wait."""
        found = self._load(signature, target_context)
        if found is None:
            self._thread.compiling.enter_context(cache.compilation.of(self.name))
            found = self._load(signature, target_context)  # by now another process may have compiled it
        return found

    def _load(self, signature: Any, target_context: Any) -> Any:
        with deferred():
            target_context.refresh()
            key = self._index_key(signature, target_context.codegen())
            for place in cache.places():
                content = Entries(place, self.name).load(key)
                if content is not None:
                    return CompileResult._rebuild(target_context, *content)
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a compiled kernel, unless it holds addresses of this process."""
        if not compiled.library.has_dynamic_globals:
            key, content = self._index_key(signature, compiled.codegen), compiled._reduce()
            cache.keep(lambda place: Entries(place, self.name).save(key, content))
