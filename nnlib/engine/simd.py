"""Numbers side by side for Numba: `Lanes`, a fixed count of floats on which arithmetic works element by element.

Numba's compiler turns loops into vector instructions when it happens to see how. A `Lanes` value says so outright, and
says nothing of the processor: the compiler cuts it into the widest registers that there are. Every operation is IEEE
754's on each number alone, none is reordered or fused with another, so the bits do not depend on that cut.

A count is given as a tuple of that length, since a tuple's length is part of its type: `lanes = (0,) * 16`.

    s = fill(bias, lanes)
    for i in range(n):
        s = s + W[i] * load(A, i * stride, lanes)
    store(Z, 0, s)
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

# Registers of eight compile well on every x86-64 level; a count is a multiple of it.
WIDEST = 8
PLACE = ir.IntType(32)  # in a register


class Lanes(types.Type):
    """The type of `count` numbers of one float type."""

    def __init__(self, dtype: types.Float, count: int) -> None:
        self.dtype, self.count, self.align = dtype, count, dtype.bitwidth // 8
        super().__init__(name=f"Lanes({dtype}, {count})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        number = manager.lookup(lanes.dtype).get_value_type()
        registers = [ir.VectorType(number, WIDEST)] * (lanes.count // WIDEST)
        super().__init__(manager, lanes, ir.LiteralStructType(registers))


def _join(builder: Any, struct: Any, vectors: Any) -> Any:
    joined = ir.Constant(struct, ir.Undefined)
    for place, vector in enumerate(vectors):
        joined = builder.insert_value(joined, vector, place)
    return joined


def _each(builder: Any, operation: Any, value: Any, *more: Any) -> Any:
    """An operation on the vectors of one or more values, as a value."""
    places = range(len(value.type.elements))
    parts = ([builder.extract_value(one, place) for one in (value, *more)] for place in places)
    return _join(builder, value.type, [operation(*part) for part in parts])


def _addresses(context: Any, builder: Any, struct: Any, array_type: Any, array: Any, index: Any) -> Any:
    data, at = context.make_array(array_type)(context, builder, array).data, 0
    for vector in struct.elements:
        place = builder.gep(data, [builder.add(index, ir.Constant(index.type, at))])
        yield builder.bitcast(place, vector.as_pointer())
        at += vector.count


@intrinsic
def load(typingctx: Any, array: Any, index: Any, like: Any) -> Any:
    """The numbers of a flat array from an index on."""
    lanes = Lanes(array.dtype, like.count)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        struct = context.get_value_type(lanes)
        places = _addresses(context, builder, struct, sig.args[0], *arguments[:2])
        return _join(builder, struct, [builder.load(place, align=lanes.align) for place in places])

    return lanes(array, types.intp, like), generate


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write them into a flat array from an index on."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        struct = context.get_value_type(value)
        for part, place in enumerate(_addresses(context, builder, struct, sig.args[0], *arguments[:2])):
            builder.store(builder.extract_value(arguments[2], part), place, align=value.align)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def fill(typingctx: Any, number: Any, like: Any) -> Any:
    """The same number in every lane."""
    lanes = Lanes(number, like.count)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _spread(builder, context.get_value_type(lanes), arguments[0])

    return lanes(number, like), generate


def _spread(builder: Any, struct: Any, number: Any) -> Any:
    def vector(kind: Any) -> Any:
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(PLACE, 0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(PLACE, kind.count), [0] * kind.count))

    return _join(builder, struct, [vector(kind) for kind in struct.elements])


@intrinsic
def where_above(typingctx: Any, a: Any, b: Any, value: Any, otherwise: Any) -> Any:
    """`value` where a > b, else `otherwise`; a NaN is not above."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        def choose(a: Any, b: Any, value: Any, otherwise: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), value, otherwise)

        return _each(builder, choose, *arguments)

    return a(a, b, value, otherwise), generate


@intrinsic
def total(typingctx: Any, lanes: Any) -> Any:
    """The sum of all lanes: the registers of eight first to last, then halves onto halves."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        (value,) = arguments
        added = builder.extract_value(value, 0)
        for place in range(1, len(value.type.elements)):
            added = builder.fadd(added, builder.extract_value(value, place))
        for half in (4, 2, 1):
            mask = [ir.Constant(ir.VectorType(PLACE, half), [start + i for i in range(half)]) for start in (0, half)]
            added = builder.fadd(*(builder.shuffle_vector(added, added, one) for one in mask))
        return builder.extract_element(added, ir.Constant(PLACE, 0))

    return lanes.dtype(lanes), generate


@intrinsic
def two_to(typingctx: Any, shifted: Any) -> Any:
    """2 to the whole number k, given as 1.5 · 2^p + k, p the bits of a mantissa: there k lies in the lowest bits."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        bits, mantissa, bias = {32: (32, 23, 127), 64: (64, 52, 1023)}[shifted.dtype.bitwidth]

        def scale(vector: Any) -> Any:
            whole = ir.VectorType(ir.IntType(bits), vector.type.count)
            biased = builder.add(builder.bitcast(vector, whole), ir.Constant(whole, [bias] * whole.count))
            return builder.bitcast(builder.shl(biased, ir.Constant(whole, [mantissa] * whole.count)), vector.type)

        return _each(builder, scale, *arguments)

    return shifted(shifted), generate


@intrinsic
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of an element, which may lie outside the array; changes nothing but the time."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        data, option = context.make_array(sig.args[0])(context, builder, arguments[0]).data, ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [data.type, option, option, option])
        function = builder.module.declare_intrinsic("llvm.prefetch", (data.type,), kind)
        reading, every_level, of_data = (ir.Constant(option, value) for value in (0, 3, 1))
        builder.call(function, [builder.gep(data, [arguments[1]]), reading, every_level, of_data])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _arithmetic(symbol: Any, instruction: str) -> None:
    @infer_global(symbol)
    class Typing(AbstractTemplate):
        def generic(self, arguments: Any, keywords: Any) -> Any:
            lanes = next((one for one in arguments if isinstance(one, Lanes)), None)
            if lanes and all(one in (lanes, lanes.dtype) for one in arguments):
                return signature(lanes, *arguments)
            return None

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        struct = context.get_value_type(sig.return_type)
        lanes = [
            value if isinstance(kind, Lanes) else _spread(builder, struct, value)
            for kind, value in zip(sig.args, arguments, strict=True)
        ]
        return _each(builder, getattr(builder, instruction), *lanes)

    for kinds in ((Lanes, Lanes), (Lanes, types.Float), (types.Float, Lanes)):
        lower_builtin(symbol, *kinds)(lower)


for _symbol, _instruction in {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
}.items():
    _arithmetic(_symbol, _instruction)
