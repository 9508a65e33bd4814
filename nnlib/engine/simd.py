"""SIMD vectors for Numba: a fixed count of floats side by side on which arithmetic works element by element.

Numba's compiler turns loops into vector instructions when it happens to see how. A `Vector` says so outright, and says
nothing of the processor: the compiler cuts it into the widest registers that there are. Every operation is IEEE 754's
on each number alone, none is reordered, and a product and a sum are fused where `fma` says so and nowhere else: so the
bits do not depend on that cut.

    s = fill(bias, EXAMPLES)
    for i in range(n):
        s = fma(W[i], load(A, i * stride, EXAMPLES), s)
    store(Z, 0, s)
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDEST = 16  # numbers in a register: AVX-512's of float32, which other processors take as two or four
NARROWEST = 4  # a vector's count is a multiple of it
INDEX = ir.IntType(32)  # of a number in a register
# By the bits of a float: as a whole number, the bits of its mantissa, the bias of its exponent.
FORMAT = {32: (ir.IntType(32), 23, 127), 64: (ir.IntType(64), 52, 1023)}


def lanes(count: int) -> Any:
    """A vector's length as a type: compiled functions are compiled once for each length.

    A tuple's length is part of its type, which is all that is read of it.
    """
    return (None,) * count


def chosen(table: Mapping[str, Any], name: str) -> Any:
    """A row of a table as a type, its number a vector's length: compiled functions are compiled once for each row."""
    return lanes(list(table).index(name))


class Vector(types.Type):
    """The type of `count` numbers of one float type."""

    def __init__(self, dtype: types.Float, count: int) -> None:
        self.dtype, self.count, self.align = dtype, count, dtype.bitwidth // 8
        super().__init__(name=f"Vector({dtype}, {count})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """Registers of 16 numbers, and what is left over in smaller ones: 20 are 16 + 4."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        number = manager.lookup(vector.dtype).get_value_type()
        sizes: list[int] = []
        size = WIDEST
        while (left := vector.count - sum(sizes)) > 0:
            while size > left:
                size //= 2
            sizes.append(size)
        super().__init__(manager, vector, ir.LiteralStructType([ir.VectorType(number, size) for size in sizes]))


def _join(builder: Any, struct: Any, registers: Any) -> Any:
    joined = ir.Constant(struct, ir.Undefined)
    for place, register in enumerate(registers):
        joined = builder.insert_value(joined, register, place)
    return joined


def _registers(builder: Any, value: Any) -> list[Any]:
    return [builder.extract_value(value, place) for place in range(len(value.type.elements))]


def _each(builder: Any, operation: Any, *values: Any) -> Any:
    """An operation on the registers of one or more vectors, as a vector."""
    registers = zip(*(_registers(builder, value) for value in values), strict=True)
    return _join(builder, values[0].type, [operation(*some) for some in registers])


def _shuffle(builder: Any, a: Any, b: Any, which: Sequence[int]) -> Any:
    """Of the numbers of two registers, one after the other, those at these places."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INDEX, len(which)), list(which)))


def _spread(builder: Any, struct: Any, number: Any) -> Any:
    def register(kind: Any) -> Any:
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(INDEX, 0))
        return _shuffle(builder, one, one, [0] * kind.count)

    return _join(builder, struct, [register(kind) for kind in struct.elements])


def _vectors(context: Any, builder: Any, sig: Any, arguments: Any) -> list[Any]:
    """The arguments as vectors of the result's type: a number stands for as many of it."""
    struct = context.get_value_type(sig.return_type)
    return [
        value if isinstance(kind, Vector) else _spread(builder, struct, value)
        for kind, value in zip(sig.args, arguments, strict=True)
    ]


def _common(arguments: Any) -> Vector | None:
    """The vector type of arguments that are vectors of one type, or numbers of its own."""
    vector = next((one for one in arguments if isinstance(one, Vector)), None)
    return vector if vector and all(one in (vector, vector.dtype) for one in arguments) else None


def _addresses(context: Any, builder: Any, struct: Any, array_type: Any, array: Any, index: Any) -> Any:
    data, at = context.make_array(array_type)(context, builder, array).data, 0
    for register in struct.elements:
        place = builder.gep(data, [builder.add(index, ir.Constant(index.type, at))])
        yield builder.bitcast(place, register.as_pointer())
        at += register.count


@intrinsic
def load(typingctx: Any, array: Any, index: Any, like: Any) -> Any:
    """The numbers of a flat array from an index on, as many as `lanes` says."""
    vector = Vector(array.dtype, like.count)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        struct = context.get_value_type(vector)
        places = _addresses(context, builder, struct, sig.args[0], *arguments[:2])
        return _join(builder, struct, [builder.load(place, align=vector.align) for place in places])

    return vector(array, types.intp, like), generate


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write them into a flat array from an index on."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        struct = context.get_value_type(value)
        places = _addresses(context, builder, struct, sig.args[0], *arguments[:2])
        for register, place in zip(_registers(builder, arguments[2]), places, strict=True):
            builder.store(register, place, align=value.align)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def fill(typingctx: Any, number: Any, like: Any) -> Any:
    """The same number as often as `lanes` says, or as a vector has numbers."""
    vector = Vector(number, like.count)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _spread(builder, context.get_value_type(vector), arguments[0])

    return vector(number, like), generate


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c with one rounding, IEEE 754's fusedMultiplyAdd: the same bits where a processor has it and where not."""
    vector = _common((a, b, c))
    if not vector:
        return None

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        def fused(*registers: Any) -> Any:
            kind = registers[0].type
            name = f"llvm.fma.v{kind.count}f{vector.dtype.bitwidth}"
            function = builder.module.globals.get(name) or ir.Function(
                builder.module, ir.FunctionType(kind, [kind] * 3), name
            )
            return builder.call(function, registers)

        return _each(builder, fused, *_vectors(context, builder, sig, arguments))

    return vector(a, b, c), generate


@intrinsic
def where_above(typingctx: Any, a: Any, b: Any, value: Any, otherwise: Any) -> Any:
    """`value` where a > b, else `otherwise`; a NaN is not above."""
    vector = _common((a, b, value, otherwise))
    if not vector:
        return None

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        def choose(a: Any, b: Any, value: Any, otherwise: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), value, otherwise)

        return _each(builder, choose, *_vectors(context, builder, sig, arguments))

    return vector(a, b, value, otherwise), generate


@intrinsic
def total(typingctx: Any, vector: Any) -> Any:
    """The sum of the 16 numbers of a register, halves onto halves."""
    if vector.count != WIDEST:
        return None

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        (added,) = _registers(builder, arguments[0])
        while (half := added.type.count // 2) > 0:
            added = builder.fadd(*(_shuffle(builder, added, added, range(k, k + half)) for k in (0, half)))
        return builder.extract_element(added, ir.Constant(INDEX, 0))

    return vector.dtype(vector), generate


@intrinsic
def transpose(typingctx: Any, source: Any, at: Any, stride: Any, target: Any, to: Any, target_stride: Any) -> Any:
    """Write 4 rows of 4 numbers of a flat array as columns into another; rows begin a stride apart."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        struct = context.get_value_type(Vector(source.dtype, NARROWEST))
        align = source.dtype.bitwidth // 8

        def places(array_type: Any, array: Any, index: Any, stride: Any) -> Any:
            for row in range(NARROWEST):
                begin = builder.add(index, builder.mul(stride, ir.Constant(stride.type, row)))
                yield from _addresses(context, builder, struct, array_type, array, begin)

        rows = [builder.load(place, align=align) for place in places(sig.args[0], *arguments[:3])]
        for _ in range(2):  # Each time the bits of row and column move on by one; after two they have changed places.
            pairs = zip(rows[:2], rows[2:], strict=True)
            rows = [_shuffle(builder, a, b, zipped) for a, b in pairs for zipped in ([0, 4, 1, 5], [2, 6, 3, 7])]
        for row, place in zip(rows, places(sig.args[3], *arguments[3:]), strict=True):
            builder.store(row, place, align=align)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), generate


@intrinsic
def two_to(typingctx: Any, shifted: Any) -> Any:
    """2 to the whole number k, given as 1.5 · 2^p + k, p the bits of a mantissa: there k lies in the lowest bits."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        whole, mantissa, bias = FORMAT[shifted.dtype.bitwidth]

        def scale(register: Any) -> Any:
            kind = ir.VectorType(whole, register.type.count)
            biased = builder.add(builder.bitcast(register, kind), ir.Constant(kind, [bias] * kind.count))
            return builder.bitcast(builder.shl(biased, ir.Constant(kind, [mantissa] * kind.count)), register.type)

        return _each(builder, scale, *arguments)

    return shifted(shifted), generate


@intrinsic
def exponent(typingctx: Any, vector: Any) -> Any:
    """About log₂ x, 0 to 0.09 too small: for x = 2^k (1 + f) it is k + f, read from the bits."""

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        whole, mantissa, bias = FORMAT[vector.dtype.bitwidth]

        def read(register: Any) -> Any:
            kind = ir.VectorType(whole, register.type.count)
            value = builder.sitofp(builder.bitcast(register, kind), register.type)
            scaled = builder.fmul(value, ir.Constant(register.type, [2.0**-mantissa] * kind.count))
            return builder.fsub(scaled, ir.Constant(register.type, [float(bias)] * kind.count))

        return _each(builder, read, *arguments)

    return vector(vector), generate


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
            vector = _common(arguments)
            return signature(vector, *arguments) if vector else None

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _each(builder, getattr(builder, instruction), *_vectors(context, builder, sig, arguments))

    for kinds in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(symbol, *kinds)(lower)


for _symbol, _instruction in {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
}.items():
    _arithmetic(_symbol, _instruction)
