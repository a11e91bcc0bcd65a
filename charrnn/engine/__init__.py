"""The numerical engine: SIMD vectors, panels, matrix products, softmax and optimiser sweeps for numba.

It knows arrays and numbers, no files, no vocabulary and no command line.
"""

from charrnn import runtime

runtime.prepare()
