"""What follows from equations: slots, stages, what is kept; and what a declaration may not say."""

import math

import pytest

from charrnn.engine.expressions import NONLINEAR, in_order, sigmoid, spelled, tanh
from charrnn.engine.fused import Place
from charrnn.model import cells
from charrnn.model.cell import EquationError, State, cell
from charrnn.model.programs import Programs
from charrnn.model.step import Beside, Step


def slots(step):
    return [(slot.gate, slot.stage, slot.has_input) for slot in step.slots]


def counted(programs):
    """How many non-linear functions, and other operations, the backward programs have."""
    found = [y.operation for program in programs.backward for y in in_order(value for _, value in program)]
    functions = sum(name in NONLINEAR for name in found)
    return functions, sum(name != "leaf" for name in found) - functions


def test_slots_of_a_stage_are_neighbours_and_those_of_the_input_come_first():
    assert slots(Step(cells.lstm)) == [(gate, 0, True) for gate in "ifgo"]
    assert slots(Step(cells.gru_after)) == [("n", None, True), ("r", 0, True), ("z", 0, True), ("n", 0, False)]
    assert slots(Step(cells.gru_before)) == [("n", 1, True), ("r", 0, True), ("z", 0, True)]
    multiplicative = Step(cells.mlstm)
    assert slots(multiplicative) == [("m", None, True), *((g, 1, True) for g in "ifgo"), ("m", 0, False)]
    assert [list(multiplicative.filled(stage)) for stage in (0, 1)] == [[5], [1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("declared", "functions", "others"),
    [(cells.lstm, 1, 25), (cells.gru_after, 0, 17), (cells.rnn_tanh, 0, 3), (cells.gru_before, 0, 18)],
)
def test_backward_passes_are_as_short_as_those_written_by_hand(declared, functions, others):
    found = counted(Programs(Step(declared)))
    assert all(count <= most for count, most in zip(found, (functions, others), strict=True)), found


def test_gates_are_kept_where_they_are_all_that_is_needed():
    assert [y.operation for y in Step(cells.gru_after).kept] == ["tanh", "sigmoid", "sigmoid", "leaf"]
    assert [y.operation for y in Step(cells.mingru).kept] == ["sigmoid", "leaf"]


def test_a_pre_activation_that_a_derivative_reads_is_kept_itself():
    @cell(gates="x")
    def swish(a):
        return State(h=a.x * sigmoid(a.x))

    @cell(gates="x y")
    def scaled(a):
        return State(h=tanh(a.x * sigmoid(a.y)))

    assert [y.operation for y in Step(swish).kept] == ["leaf"]
    assert [y.operation for y in Step(scaled).kept] == ["leaf", "sigmoid"]


def test_reading_an_overwritten_slot_is_refused():
    @cell(gates="x")
    def swish(a):
        return State(h=a.x * sigmoid(a.x))

    step = Step(swish)
    step.kept = [next(y for y in in_order(step.new.values()) if y.operation == "sigmoid")]
    with pytest.raises(EquationError, match=r"a\.x is read when its slot is overwritten"):
        Programs(step)


def test_a_gradient_that_two_stages_bring_is_added_up():
    @cell(gates="r n")
    def twice(a, s, w):
        r = sigmoid(a.r)
        return State(h=r * tanh(a.n + (r * s.h) @ w.n))

    assert Programs(Step(twice)).partial == 1
    assert Programs(Step(cells.gru_before)).partial == 0


def test_a_pre_activation_that_is_returned_is_not_taken_for_its_sum():
    @cell(gates="n", states="h c")
    def both(a, s, w):
        return State(h=tanh(a.n + s.h @ w.n), c=a.n)

    assert slots(Step(both)) == [("n", None, True), ("n", 0, False)]


def test_a_product_by_itself_is_no_gate_of_the_same_name():
    @cell(gates="n hn")
    def clash(a, s, w):
        return State(h=tanh(a.n * (s.h @ w.n)) + a.hn)

    found = Programs(Step(clash))
    assert slots(found.step) == [("n", None, True), ("hn", 0, True), ("n", 0, False)]
    gradients_of = dict(found.backward[0])
    assert spelled([gradients_of[Place("gates", slot=1)]]) != spelled([gradients_of[Place("gates", slot=2)]])


def test_programs_of_equal_equations_have_one_name_and_all_others_another():
    names = {}
    for declared in (*cells.RNNS.values(), *cells.GRUS.values(), cells.lstm, *cells.CELLS.values()):
        for beside in (Beside(), Beside(layer_norm=True), Beside(zoneout=True), Beside(lines=True)):
            names[declared.name, beside] = Programs(Step(declared, beside)).fingerprint
    assert len(set(names.values())) == len(names)
    again = cell(gates="i f g o", states="h c")(cells.lstm.equations)
    assert Programs(Step(again)).fingerprint == names["lstm", Beside()]


def declared(equations, **names):
    return Step(cell(**({"gates": "x y"} | names))(equations))


WRONG = {
    "an unknown gate": (lambda a: State(h=a.q + a.x + a.y), r"expected one of a\.x, a\.y, got a\.q"),
    "an unknown state": (lambda a, s: State(h=a.x + a.y + s.c), r"expected one of s\.h, got s\.c"),
    "an unknown kind": (lambda a, q: State(h=a.x), "expected parameters of a, s, w, p, got q"),
    "a gate not used": (lambda a: State(h=a.x), r"every gate to be used, got no a\.y"),
    "no state": (lambda a: a.x + a.y, r"expected it to return State\(h=\.\.\.\)"),
    "another state": (lambda a: State(k=a.x + a.y), r"expected it to return State\(h=\.\.\.\), got State\(k\)"),
    "a number": (lambda a: State(h=1.0), "expected an expression for state h, got 1.0"),
    "a function of floats": (lambda a: State(h=math.tanh(a.x) + a.y), "must be real number"),
    "a product elsewhere": (
        lambda a, s, w: State(h=a.y + a.x * ((a.y * s.h) @ w.x)),
        r"expected exactly a\.x \+ x @ w\.x",
    ),
    "the same product twice": (
        lambda a, s, w: State(h=a.y + tanh(a.x + s.h @ w.x) * (s.h @ w.x)),
        r"one product with w\.x, got several",
    ),
    "a sum that is returned": (lambda a, s, w: State(h=a.y + (s.h * a.y) @ w.x + a.x), r"exactly a\.x \+ x @ w\.x"),
    "a condition": (lambda a, s: State(h=a.x if s.h else a.y), "no truth value before there are numbers"),
    "a whole kind of names": (lambda a, s: State(h=a.x * s + a.y), "expected expressions to multiply, got"),
    "a function of a number": (lambda a, s: State(h=tanh(0.5) * a.x + a.y), "expected expressions to tanh, got 0.5"),
    "a product of a number": (lambda a, s, w: State(h=a.x + a.y + 1.0 @ w.x), r"before @ w\.x, got 1.0"),
    "two products": (
        lambda a, s, w: State(h=a.y + a.x + s.h @ w.x + (s.h * a.y) @ w.x),
        r"one product with w\.x, got several",
    ),
}


@pytest.mark.parametrize("slip", WRONG)
def test_a_declaration_that_makes_no_sense_is_one_clear_line(slip):
    equations, message = WRONG[slip]
    with pytest.raises(EquationError, match=message) as caught:
        Programs(declared(equations))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        *(({kind: "q"}, "expected gates among x y, got q") for kind in ("recurrent", "forget")),
        *((names, "at least one gate, and h as the first state") for names in ({"states": "c"}, {"gates": ""})),
        *(({kind: "x x"}, "expected names, each once, got x x") for kind in ("gates", "recurrent")),
        *((names, "expected names, each once") for names in ({"states": "h h"}, {"gates": "x 2"})),
    ],
)
def test_names_that_are_not_declared_are_refused(names, message):
    with pytest.raises(EquationError, match=message):
        declared(lambda a: State(h=a.x + a.y), **names)


def test_a_number_for_each_unit_must_be_used():
    with pytest.raises(EquationError, match="p"):
        Programs(declared(lambda a: State(h=a.x + a.y), units="p"))
