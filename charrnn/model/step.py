"""What is derived from a cell's equations: its slots, its stages, and what is kept for the backward pass.

**Slots.** The buffer `gates` has a slot for each gate. It also has a slot for each separate product: a product
`s.h @ w.n` that is not simply added to its gate's pre-activation. A slot first holds a pre-activation, then what the
backward pass needs of it, then its gradient.

**Stages.** Some products have an operand other than h, and must wait until this operand is computed. So a step has one
stage for products with h, and one for each other operand. Each stage has its products, and then its equations.
"""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.engine.expressions import NONLINEAR, Expression, gradients, in_order, is_leaf, leaf, replaced
from charrnn.engine.fused import Place
from charrnn.model.cell import Cell, Gate, State

H_BEFORE = Place("state0")


@dataclass(frozen=True)
class Beside:
    """What is done in addition to a cell's equations.

    Args:
        layer_norm: pre-activations are normalised, see normalise.py.
        zoneout: units keep their previous state at random, see state_masks.py.
        lines: the state is set to zeros where a line begins.
    """

    layer_norm: bool = False
    zoneout: bool = False
    lines: bool = False


@dataclass(frozen=True, eq=False)
class Slot:
    """A slot of the gates' buffer.

    Args:
        gate: this gate's columns of the weights fill the slot.
        leaf: its pre-activation in the equations.
        stage: the stage whose product completes the slot; None without a product.
        has_input: whether the layer's input is added to the slot. It is not added to a separate product.
    """

    gate: str
    leaf: Expression
    stage: int | None
    has_input: bool = True

    @property
    def complete_in(self) -> int:
        """The stage in which the pre-activation is complete."""
        return self.stage or 0


class Step:
    """The parts of a cell's equations.

    Args:
        cell: its declaration.
        beside: what is done in addition to the equations.

    Attributes:
        new: the new state, zoneout included.
        operands: the operand of each stage's products. For the first stage it is h.
        slots: the slots in this order: slots without products; slots of the last stage, and so on down to the first
            stage; separate products of the first stage. So the slots that the input is added to come first, and the
            products of each stage fill neighbouring slots.
        kept: what each slot holds for the backward pass.

    Raises:
        EquationError: recurrent weights are used in a way that is not supported, or a gate is not used.
    """

    def __init__(self, cell: Cell, beside: Beside | None = None) -> None:
        self.cell, self.beside = cell, beside or Beside()
        traced = cell.trace()
        cuts, self.operands, self.slots = _cut_at_products(cell, traced)
        values = replaced([*traced.values(), *self.operands], cuts.get)
        self.new = State(zip(traced, values, strict=False))
        self.operands = values[len(traced) :]
        if self.beside.zoneout:
            self.new = State({name: _zoneout(cell, name, value) for name, value in self.new.items()})
        self.kept = self._choose_kept()

    @property
    def stages(self) -> int:
        """How many stages there are."""
        return len(self.operands)

    @property
    def inputs(self) -> list[Slot]:
        """The slots that the layer's input is added to."""
        return [slot for slot in self.slots if slot.has_input]

    @property
    def singles(self) -> list[Slot]:
        """The slots of separate products."""
        return [slot for slot in self.slots if not slot.has_input]

    def filled(self, stage: int) -> range:
        """The slots that a stage's products fill."""
        ours = [k for k, slot in enumerate(self.slots) if slot.stage == stage]
        return range(ours[0], ours[-1] + 1) if ours else range(0)

    def written(self, index: int) -> int:
        """The stage whose equations write the kept value into a slot."""
        complete = {slot.leaf: slot.complete_in for slot in self.slots}
        return max(complete.get(y, 0) for y in in_order([self.kept[index]]))

    def _choose_kept(self) -> list[Expression]:
        """For each slot, the non-linear function of its pre-activation, if the pre-activation is used nowhere else.

        Otherwise the pre-activation itself is kept. It is also kept where a derivative reads it. All other values are
        computed again in the backward pass.
        """
        roots = [*self.new.values(), *self.operands]
        kept: list[Expression] = []
        for slot in self.slots:
            value = _only_function_of(slot.leaf, roots)
            kept.append(slot.leaf if value is None or value in kept else value)
        read = self._read_backwards(set(kept))
        return [slot.leaf if slot.leaf in read else value for slot, value in zip(self.slots, kept, strict=True)]

    def _read_backwards(self, kept: set[Expression]) -> set[Expression]:
        """All expressions that the derivatives of the equations read, if they can read the kept values as they are."""
        flows = [gradients((value, leaf(name)) for name, value in self.new.items())]
        flows += [gradients([(operand, leaf("operand"))]) for operand in self.operands[1:]]
        wanted = [d for flow in flows for y, d in flow.items() if is_leaf(y)]
        marked = replaced(wanted, lambda y: leaf("kept") if y in kept else None)
        return set(in_order(y for y in marked if isinstance(y, Expression)))


def _zoneout(cell: Cell, name: str, value: Expression) -> Expression:
    """A new state that keeps a share k of the previous state in each unit (Krueger et al. 2017)."""
    k, before = (leaf(Place(f"{array}{cell.states.index(name)}")) for array in ("keep", "state"))
    return k * before + (1.0 - k) * value


def _cut_at_products(cell: Cell, traced: State) -> tuple[dict[Expression, Expression], list[Expression], list[Slot]]:
    """Take the products out of the equations.

    Returns:
        The leaf that replaces each product, or each sum of a pre-activation and its product; the operands; the slots.
    """
    order = in_order(traced.values())
    leaves = {y.arguments[0].name: y for y in order if is_leaf(y) and isinstance(y.arguments[0], Gate)}
    cuts: dict[Expression, Expression] = {}
    operands = [leaf(H_BEFORE)]
    stages: dict[str, int | None] = {gate: 0 if gate in cell.recurrent else None for gate in cell.gates}
    singles: dict[str, Slot] = {}
    products = [y for y in order if y.operation == "product"]
    for product in products:
        operand, gate = product.arguments
        if sum(other.arguments[1] == gate for other in products) > 1:
            raise cell.error(f"expected one product with w.{gate}, got several")
        if gate not in leaves:
            raise cell.error(f"expected every gate to be used, got no a.{gate}")
        with_h = is_leaf(operand) and operand.arguments[0] == H_BEFORE
        if not with_h and operand not in operands:
            operands.append(operand)
        total = _sum_of(leaves[gate], product, order, list(traced.values()))
        if total is not None:
            cuts[total] = leaves[gate]
            stages[gate] = 0 if with_h else operands.index(operand)
        elif with_h:
            cuts[product] = leaf(Gate(gate, single=True))
            singles[gate] = Slot(gate, cuts[product], 0, has_input=False)
            stages[gate] = None
        else:
            raise cell.error(
                f"expected exactly a.{gate} + x @ w.{gate}, with neither used elsewhere, got something else"
            )
    unused = [gate for gate in cell.gates if gate not in leaves]
    if unused:
        raise cell.error(f"expected every gate to be used, got no a.{unused[0]}")
    slots = [Slot(gate, leaves[gate], stages[gate]) for gate in cell.gates]
    slots.sort(key=lambda slot: -len(operands) if slot.stage is None else -slot.stage)
    return cuts, operands, slots + list(singles.values())


def _sum_of(x: Expression, product: Expression, order: list[Expression], new: list[Expression]) -> Expression | None:
    """The sum x + product, if neither x nor the product is used anywhere else."""
    users = [y for y in order if product in y.arguments or x in y.arguments]
    if len(users) == 1 and users[0].operation == "add" and set(users[0].arguments) == {x, product}:
        return None if x in new or product in new else users[0]
    return None


def _only_function_of(x: Expression, roots: list[Expression]) -> Expression | None:
    """The non-linear function that x goes into, if x and the values between them are used nowhere else."""
    order = in_order(roots)
    while x.operation not in NONLINEAR:
        users = [y for y in order if x in y.arguments]
        if len(users) != 1 or x in roots:
            return None
        x = users[0]
    return x
