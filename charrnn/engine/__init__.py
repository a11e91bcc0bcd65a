"""The numerical engine: SIMD vectors, panels, matrix products, softmax and optimiser sweeps for numba.

It works on arrays and numbers. It knows no vocabulary and no command line. Its only files are the compile cache.
"""

from charrnn import runtime

runtime.prepare()
