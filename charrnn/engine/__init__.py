"""The numerical engine: SIMD vectors, panels, matrix products, softmax and optimiser sweeps for numba.

It works on arrays and numbers. It knows no files, no vocabulary and no command line.
"""

from charrnn import runtime

runtime.prepare()
