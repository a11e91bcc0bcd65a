"""Float64 arrays that remember how they were computed. The chain rule, backwards over them, gives gradients.

NumPy's functions call `Traced.__array_ufunc__`, so equations in plain NumPy need no change. Nothing is fast.
"""

from itertools import compress, count

import numpy as np

_clock = count()

# ufunc -> for its result y, its arguments and the gradient d of y, the gradient of each argument
DERIVATIVES = {
    np.add: lambda y, d, a, b: (d, d),
    np.subtract: lambda y, d, a, b: (d, -d),
    np.multiply: lambda y, d, a, b: (d * b, d * a),
    np.true_divide: lambda y, d, a, b: (d / b, -d * a / b**2),
    np.maximum: lambda y, d, a, b: (d * (a > b), d * (a <= b)),
    np.minimum: lambda y, d, a, b: (d * (a < b), d * (a >= b)),
    np.negative: lambda y, d, a: (-d,),
    np.tanh: lambda y, d, a: (d * (1 - y**2),),
    np.exp: lambda y, d, a: (d * y,),
    np.sqrt: lambda y, d, a: (d / (2 * y),),
    np.matmul: lambda y, d, a, b: (b @ d, np.outer(a, d)),
}


def value_of(x):
    return x.value if isinstance(x, Traced) else np.asarray(x, np.float64)


def summed_to(shape, d):
    """The gradient of an argument that was broadcast."""
    d = np.sum(d, axis=tuple(range(np.ndim(d) - len(shape))))
    return np.sum(d, axis=tuple(k for k, n in enumerate(shape) if n != d.shape[k]), keepdims=True)


class Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """An array.

    Args:
        value: any shape, float64.
        arguments: the Traced arrays that it was computed from.
        back: from its gradient to those of the arguments.
    """

    def __init__(self, value, arguments=(), back=None):
        self.value, self.arguments, self.back = np.asarray(value, np.float64), arguments, back
        self.gradient = np.zeros_like(self.value)
        self.time = next(_clock)

    def __array_ufunc__(self, function, method, *arguments):
        assert method == "__call__"
        values = [value_of(x) for x in arguments]
        y = function(*values)
        return record(y, arguments, lambda d: DERIVATIVES[function](y, d, *values))

    def __getitem__(self, where):
        def back(d):
            gradient = np.zeros_like(self.value)
            gradient[where] = d
            return [gradient]

        return Traced(self.value[where], [self], back)

    def transpose(self):
        return Traced(self.value.T, [self], lambda d: [d.T])

    def mean(self):
        n = self.value.size
        return Traced(self.value.mean(), [self], lambda d: [np.full(self.value.shape, d / n)])

    def var(self):
        far = self - self.mean()
        return (far * far).mean()


def record(y, arguments, back):
    """The result of a function, which is recorded for those of its arguments that are Traced."""
    traced = [isinstance(x, Traced) for x in arguments]

    def back_to_traced(d):
        pairs = zip(compress(arguments, traced), compress(back(d), traced), strict=True)
        return [summed_to(x.value.shape, gradient) for x, gradient in pairs]

    return Traced(y, list(compress(arguments, traced)), back_to_traced)


def rounded_product(rounded):
    """x @ W with rounded factors; so are those of the two products of its gradients."""

    def product(x, weights):
        a, b = rounded(value_of(x)), rounded(value_of(weights))
        return record(a @ b, (x, weights), lambda d: (b @ rounded(d), np.outer(a, rounded(d))))

    return product


def run_back(ends):
    """Add to `gradient` of everything that `ends` were computed from; `gradient` of the ends is given."""
    found, waiting = {}, list(ends)
    while waiting:
        node = waiting.pop()
        if node.time not in found:
            found[node.time] = node
            waiting += node.arguments
    for time in sorted(found, reverse=True):
        node = found[time]
        for argument, gradient in zip(node.arguments, node.back(node.gradient) if node.back else (), strict=True):
            argument.gradient = argument.gradient + gradient
