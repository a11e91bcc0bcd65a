"""Graphs of equations: every derivative rule against finite differences, and what is walked through once."""

import numpy as np
import pytest

from charrnn.engine.expressions import (
    NONLINEAR,
    NUMPY_OPERATORS,
    OPERATIONS,
    Expression,
    evaluate,
    exp,
    gradients,
    in_order,
    is_leaf,
    leaf,
    relu,
    replaced,
    sigmoid,
    spelled,
    tanh,
    where_positive,
)

X, Y, Z = leaf("x"), leaf("y"), leaf("z")
GIVEN = {"x": np.array([0.3, -1.2, 2.0]), "y": np.array([1.5, 0.4, -0.7]), "z": np.array([-0.8, 0.9, 0.1])}
FORMULAS = {
    "add": X + Y + 2.0,
    "subtract": X - Y - 0.5 - (3.0 - Z),
    "multiply": X * Y * 1.5 * Z,
    "divide": X / (Y * Y + 1.0) + 2.0 / (X * X + 1.0),
    "negate": -X * -Y,
    "sigmoid": sigmoid(X * Y) * Z,
    "tanh": tanh(X + Y) * tanh(Z),
    "relu": relu(X) * Y + relu(Y),
    "exp": exp(X * Z) * Y,
    "where_positive": where_positive(Z, X * Y) + X,
}


def value(outputs, given):
    return evaluate(outputs, lambda y: given[y.arguments[0]] if is_leaf(y) else None, NUMPY_OPERATORS)


def test_there_is_a_formula_for_each_operation():
    assert set(FORMULAS) == set(OPERATIONS)
    for name, formula in FORMULAS.items():
        assert name in {y.operation for y in in_order([formula])}


@pytest.mark.parametrize("name", OPERATIONS)
def test_derivatives_agree_with_finite_differences(name):
    formula, weight, e = FORMULAS[name], np.array([0.7, -1.1, 0.4]), 1e-6
    reached = gradients([(formula, leaf("weight"))])
    for x in (X, Y, Z):
        moved = [value([formula], GIVEN | {x.arguments[0]: GIVEN[x.arguments[0]] + s})[0] for s in (e, -e)]
        numeric = (moved[0] - moved[1]) / (2 * e) * weight
        analytic = value([reached[x]], GIVEN | {"weight": weight})[0] if x in reached else np.zeros(3)
        np.testing.assert_allclose(analytic, numeric, atol=1e-8)


def test_gradients_of_several_outputs_add_up():
    shared = tanh(X)
    reached = gradients([(shared * Y, leaf("p")), (shared, leaf("q"))])
    p, q = np.array([2.0, 0.0, 1.0]), np.array([0.0, 3.0, 1.0])
    got = value([reached[X]], GIVEN | {"p": p, "q": q})[0]
    np.testing.assert_allclose(got, (p * GIVEN["y"] + q) * (1 - np.tanh(GIVEN["x"]) ** 2))


def test_each_part_is_worked_out_once():
    shared, count = tanh(X), []
    operators = NUMPY_OPERATORS | {"tanh": lambda x: count.append(1) or np.tanh(x)}
    evaluate([shared * shared, shared + Y], lambda y: GIVEN[y.arguments[0]] if is_leaf(y) else None, operators)
    assert len(count) == 1


def test_parts_are_replaced_wherever_they_stand():
    inner = sigmoid(X)
    got = replaced([inner * inner + Y], lambda y: Z if y is inner else None)
    np.testing.assert_array_equal(value(got, GIVEN)[0], GIVEN["z"] ** 2 + GIVEN["y"])


def test_spelling_tells_equal_graphs_from_others():
    assert spelled([tanh(X) * Y]) == spelled([tanh(leaf("x")) * leaf("y")])
    others = [tanh(X) * X, tanh(Y) * X, sigmoid(X) * Y, tanh(X) + Y, tanh(X) * Y * 1.0]
    assert len({spelled([y]) for y in [tanh(X) * Y, *others]}) == 6
    shared = tanh(X)
    assert spelled([shared * shared]) != spelled([tanh(X) * tanh(X)])


def test_a_graph_far_deeper_than_pythons_stack_is_put_in_order():
    y = X
    for _ in range(20_000):
        y = -y
    assert len(in_order([y])) == 20_001


def test_non_linear_functions_are_operations():
    assert set(NONLINEAR) < set(OPERATIONS)
    assert all(Expression(name, X).operation == name for name in NONLINEAR)
