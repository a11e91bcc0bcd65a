"""What the kernels do in each stage of a step: assignments for the forward and the backward pass.

In the backward pass, the stages run in reverse order. In each stage, gradients go from the new state, or from the next
stage's operand, to slots, to states and to the learned numbers of units. If gradients reach one of these in several
stages, they are added up.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property
from hashlib import sha256
from typing import Any

from charrnn.engine.expressions import Expression, gradients, in_order, is_leaf, leaf, replaced, spelled
from charrnn.engine.fused import LATER_ROWS, ROW_SCALARS, ROWS, STREAMS, UNITS, Place
from charrnn.engine.normalise import NORMALISED_FIELDS
from charrnn.engine.recurrence import Plan
from charrnn.model.cell import Gate
from charrnn.model.step import Step

Assignments = list[tuple[Place, Any]]
Known = dict[Expression, Expression]
Flow = dict[Hashable, Any]  # the gradient of each leaf; the key is the meaning of the leaf
ALIVE = leaf(Place("alive", ROW_SCALARS))  # 0 where a line begins after this row, else 1
DH = leaf(Place("dh"))


class Programs:
    """The assignments of each stage.

    Args:
        step: the parts of the equations.
        rounded: whether products are computed in bfloat16. Then their factors are also written in bfloat16.

    Attributes:
        forward: for each stage, the assignments after its products.
        backward: for each stage, the assignments after the products that bring its gradients. The kernels run the last
            stage first.
        partial: how many slots have a gradient that one stage begins and another one finishes.

    Raises:
        EquationError: a derivative reads a slot that is already overwritten, or a gate or a per-unit parameter gets no
            gradient.
    """

    def __init__(self, step: Step, rounded: bool = False) -> None:
        self.step, self.rounded, self.normalised = step, rounded, step.beside.layer_norm
        flows = [self._flow(operand, k + 1) for k, operand in enumerate(step.operands[1:])]
        self._flows = [*flows, self._flow_of_state()]
        self._partial = [index for index in range(len(step.slots)) if len(self._stages_of(self._meaning(index))) > 1]
        for name, (place, _) in zip(step.cell.units, self._further_targets()[len(step.cell.states) :], strict=True):
            if not self._stages_of(place):
                raise step.cell.error(f"expected every number of a unit to matter, got no gradient for p.{name}")
        self.forward = [self._forward(stage) for stage in range(step.stages)]
        self.backward = [self._backward(stage) for stage in range(step.stages)]

    @property
    def partial(self) -> int:
        """How many slots have a gradient that one stage begins and another one finishes."""
        return len(self._partial)

    @cached_property
    def fingerprint(self) -> str:
        """A name for everything that the kernels do."""
        step = self.step
        parts = [repr((step.beside, self.rounded, [(slot.stage, slot.has_input) for slot in step.slots]))]
        for program in (*self.forward, *self.backward):
            parts += [repr([place for place, _ in program]), spelled(value for _, value in program)]
        return sha256("\n".join(parts).encode()).hexdigest()[:16]

    @cached_property
    def plan(self) -> Plan:
        """The programs in the form that the engine takes."""
        step, ends = self.step, []
        products = [sum(step.slots[k].has_input for k in step.filled(stage)) for stage in range(step.stages)]
        if self.normalised:
            ends = [(slot.complete_in, self._stages_of(self._meaning(k))[0]) for k, slot in enumerate(step.slots)]
        return Plan(
            name=self.fingerprint,
            fields=self._fields(),
            forward=tuple(self.forward),
            backward=tuple(self.backward),
            products=tuple(products),
            singles=len(step.singles),
            lines=step.beside.lines,
            rounded=self.rounded,
            completed=tuple(complete for complete, _ in ends),
            finished=tuple(finished for _, finished in ends),
        )

    def _fields(self) -> tuple[str, ...]:
        """The arrays that the layer needs, in alphabetical order."""
        step = self.step
        fields = {"gates", "dh", *(f"state{k}" for k in range(len(step.cell.states)))}
        fields |= {f"{name}{k}" for name in ("filled", "weights", "weights_t") for k in range(step.stages)}
        fields |= {f"operand{k}" for k in range(1 if self.rounded else step.stages)}
        if self.rounded:
            fields |= {f"rounded_{name}{k}" for name in ("operand", "filled") for k in range(step.stages)}
            fields |= {"rounded_gates"}
        fields |= {f"d_operand{k}" for k in range(int(not step.beside.lines), step.stages)}
        for program in (*self.forward, *self.backward):
            fields |= {place.array for place, _ in program}
            fields |= {y.arguments[0].array for y in in_order(value for _, value in program) if is_leaf(y)}
        fields |= {"single_bias"} if step.singles else set()
        return tuple(sorted(fields | (set(NORMALISED_FIELDS) if self.normalised else set())))

    # Places.

    def _state(self, name: str, how: str = ROWS) -> Place:
        return Place(f"state{self.step.cell.states.index(name)}", how)

    def _carried(self, name: str) -> Place:
        return Place(f"carried{self.step.cell.states.index(name)}", STREAMS)

    def _meaning(self, index: int) -> Hashable:
        meaning: Hashable = self.step.slots[index].leaf.arguments[0]
        return meaning

    def _scaled(self, index: int, x: Expression) -> Expression:
        """A normalised pre-activation x, scaled and shifted."""
        return leaf(Place("gain", UNITS, index)) * x + leaf(Place("bias", UNITS, index))

    def _centred(self, index: int) -> Expression:
        """A pre-activation with mean 0, brought to variance 1."""
        return leaf(Place("x", slot=index)) * leaf(Place("scale", ROW_SCALARS, index))

    def _read(self, program: Assignments, known: Known) -> Assignments:
        """The program in a form that reads only places."""

        def read(y: Expression) -> Expression | None:
            if y not in known and is_leaf(y) and isinstance(y.arguments[0], Gate):
                raise self.step.cell.error(f"a.{y.arguments[0].name} is read when its slot is overwritten")
            return known.get(y)

        values = replaced((value for _, value in program), read)
        return [(place, value) for (place, _), value in zip(program, values, strict=True)]

    # Forwards.

    def _forward(self, stage: int) -> Assignments:
        """What a stage's slots keep, then the operand of the next stage or the new state."""
        step, program = self.step, []
        known: dict[Expression, Expression] = {}
        for index in range(len(step.slots)):
            known |= self._known_forward(index, stage)
            program += self._slot_forward(index, stage)
        if stage + 1 < step.stages:
            name = f"operand{stage + 1}"
            program.append((Place(f"rounded_{name}" if self.rounded else name), step.operands[stage + 1]))
        else:
            program += self._end()
        return self._read(program, known)

    def _known_forward(self, index: int, stage: int) -> dict[Expression, Expression]:
        """Where a stage finds a slot's pre-activation, and what the slot keeps of it."""
        slot, kept, written = self.step.slots[index], self.step.kept[index], self.step.written(index)
        here = leaf(Place("gates", slot=index))
        known: dict[Expression, Expression] = {}
        if self.normalised and slot.complete_in <= stage:
            now = slot.complete_in == stage
            known[slot.leaf] = self._scaled(index, self._centred(index) if now else leaf(Place("x", slot=index)))
        if not self.normalised and (kept is slot.leaf or written >= stage):
            known[slot.leaf] = here
        if kept is not slot.leaf and written < stage:
            known[kept] = here
        return known

    def _slot_forward(self, index: int, stage: int) -> Assignments:
        """What a stage writes for a slot."""
        slot, kept = self.step.slots[index], self.step.kept[index]
        program = []
        if self.normalised and slot.complete_in == stage:
            program.append((Place("x", slot=index), self._centred(index)))
        if kept is not slot.leaf and self.step.written(index) == stage:
            program.append((Place("gates", slot=index), kept))
        return program

    def _end(self) -> Assignments:
        """The assignments of the new state, and of the layer's output to the layers above if it differs from h."""
        new = self.step.new
        after = {name: ALIVE * value for name, value in new.items()} if self.step.beside.lines else new
        program = [(self._state(name, LATER_ROWS), value) for name, value in after.items()]
        if self.step.beside.lines:
            program.append((Place("output"), new["h"]))
        if self.rounded:
            program.append((Place("rounded_operand0", LATER_ROWS), after["h"]))
        if self.rounded and self.step.beside.lines:
            program.append((Place("rounded_output"), new["h"]))
        return program

    # Backwards.

    def _flow(self, operand: Expression, stage: int) -> Flow:
        """Where the gradient of a stage's operand goes."""
        return _by_meaning(gradients([(operand, leaf(Place(f"d_operand{stage}", STREAMS)))]))

    def _flow_of_state(self) -> Flow:
        """Where the gradient of the new state goes."""
        new = self.step.new
        roots = [*new.values(), *self.step.operands[1:]]
        carried = _by_meaning(gradients((root, DH) for root in roots))
        arriving: dict[str, Any] = {
            name: leaf(self._carried(name)) if self._state(name) in carried else None for name in new
        }
        future = DH
        if self.step.beside.lines:
            future = leaf(Place("d_operand0", STREAMS))
        arriving["h"] = future if arriving["h"] is None else future + arriving["h"]
        if self.step.beside.lines:
            arriving = {name: None if d is None else ALIVE * d for name, d in arriving.items()}
            arriving["h"] = DH + arriving["h"]
        return _by_meaning(gradients((new[name], d) for name, d in arriving.items() if d is not None))

    def _stages_of(self, meaning: Hashable) -> list[int]:
        """The stages in which a gradient reaches a leaf."""
        return [stage for stage, flow in enumerate(self._flows) if meaning in flow]

    def _backward(self, stage: int) -> Assignments:
        step, flow, known = self.step, self._flows[stage], {}
        program: Assignments = []
        for index, slot in enumerate(step.slots):
            reached = self._stages_of(self._meaning(index))
            if not reached:
                raise step.cell.error(f"expected every gate to matter, got no gradient for a.{slot.gate}")
            if self.normalised:
                known[slot.leaf] = self._scaled(index, leaf(Place("x", slot=index)))
            if reached[0] <= stage and not (self.normalised and step.kept[index] is slot.leaf):
                known[step.kept[index]] = leaf(Place("gates", slot=index))
            if stage in reached:
                program += self._slot_gradient(index, stage, reached)
        for place, target in self._further_targets():
            if place in flow:
                earlier = any(k > stage for k in self._stages_of(place))
                program.append((target, flow[place] + leaf(target) if earlier else flow[place]))
        return self._read(program, known)

    def _slot_gradient(self, index: int, stage: int, reached: list[int]) -> Assignments:
        """A slot's gradient, or the part of it that is known in this stage."""
        d = self._flows[stage][self._meaning(index)]
        if len(reached) > 1:
            part = Place("partial", STREAMS, self._partial.index(index))
            if stage < reached[-1]:
                d = d + leaf(part)
            if stage > reached[0]:
                return [(part, d)]
        place = Place("gates", slot=index)
        if not self.normalised:
            return [(place, d), (Place("rounded_gates", slot=index), d)] if self.rounded else [(place, d)]
        return [(Place("d_scaled", slot=index), d), (place, d * leaf(Place("gain", UNITS, index)))]

    def _further_targets(self) -> list[tuple[Place, Place]]:
        """States and learned numbers, and where their gradients go."""
        cell = self.step.cell
        states = [(self._state(name), self._carried(name)) for name in cell.states]
        units = [(Place("units", UNITS, k), Place("d_units", slot=k)) for k in range(len(cell.units))]
        return states + units


def _by_meaning(reached: dict[Expression, Any]) -> Flow:
    """The gradients of leaves. They are added up for leaves that stand for the same thing."""
    flow: Flow = {}
    for y, d in reached.items():
        if is_leaf(y):
            meaning = y.arguments[0]
            flow[meaning] = flow[meaning] + d if meaning in flow else d
    return flow
