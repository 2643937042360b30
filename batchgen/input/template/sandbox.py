"""Jinja2 in its sandbox, made strict: what Jinja would guess, print or build without end is refused.

Jinja2 decides what a template means. Added are operators that do not confuse text with numbers, printing of values that
have a text only, and limits for templates that do not end. Knows no columns and no file.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from jinja2 import Template, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context, LoopContext, markup_join
from jinja2.sandbox import SandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace

from batchgen.input.template.filters import environment_filters
from batchgen.input.template.growth import STEPS_A_CALL, Growth
from batchgen.input.template.kinds import Operand, refuse_unlike_item
from batchgen.input.template.operators import COMPARISON_TESTS, calculated, compared
from batchgen.input.template.values import Absent, Fields, Null, TemplateFault, plain, printed


class _Generator(CodeGenerator):
    """Compiles comparisons, arithmetic, `~` and method calls to calls of the environment, which checks them."""

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        operands = [node.expr, *(operand.expr for operand in node.ops)]
        self._call("compare", [operand.op for operand in node.ops], operands, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self._call("concatenate_escaped" if frame.eval_ctx.autoescape else "concatenate", [], node.nodes, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if isinstance(node.arg, nodes.Slice):
            self._call("part", ["slice"], [node.node, nodes.Tuple(_bounds(node.arg), "load")], frame)
        else:
            super().visit_Getitem(node, frame)

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:  # noqa: FBT001, FBT002  Jinja's signature
        if isinstance(node.node, nodes.Getattr):
            method = nodes.Getattr(node.node.node, _METHOD + node.node.attr, "load", lineno=node.lineno)
            node = nodes.Call(method, node.args, node.kwargs, node.dyn_args, node.dyn_kwargs, lineno=node.lineno)
        super().visit_Call(node, frame, forward_caller=forward_caller)

    def _calculate(self, node: nodes.BinExpr, frame: Frame) -> None:
        self._call("calculate", [node.operator], [node.left, node.right], frame)

    visit_Add = visit_Sub = visit_Mul = visit_Div = visit_FloorDiv = visit_Pow = visit_Mod = _calculate

    def _call(self, method: str, operators: Sequence[str], operands: Sequence[nodes.Expr], frame: Frame) -> None:
        """Writes the call `environment.method(operators, names of the operands, operands...)`."""
        columns = getattr(self.environment, "columns", ())
        names = tuple((_name(operand), _column(operand) in columns) for operand in operands)
        self.write(f"environment.{method}({tuple(operators)!r}, {names!r}, ")
        for operand in operands:
            self.visit(operand, frame)
            self.write(", ")
        self.write(")")

    def _make_finalize(self) -> CodeGenerator._FinalizeInfo:
        """Returns how values are printed: always at run time, never while the template is compiled."""
        return self._FinalizeInfo(None, "environment.finalize(")


SOURCE = "<prompt>"
"""The file name of compiled templates' lines."""
_METHOD = "method "
_COUNTED = "counted "
"""No template can write a name with a blank."""


def _name(node: nodes.Expr) -> str:
    """Returns how a message names an operand: by its column, if it is one."""
    if isinstance(node, nodes.Name):
        return node.name
    key = node.attr if isinstance(node, nodes.Getattr) else _constant(node)
    of = _name(node.node) if isinstance(node, nodes.Getattr | nodes.Getitem) else ""
    return key if of == "row" else f"{of}.{key}" if of and key else ""


def _column(node: nodes.Expr) -> str:
    """Returns the column that an operand is; empty if it is none, or part of one."""
    if isinstance(node, nodes.Name):
        return node.name
    is_of_row = isinstance(node, nodes.Getattr | nodes.Getitem) and _name(node.node) == "row"
    return _name(node) if is_of_row else ""


def _bounds(cut: nodes.Slice) -> list[nodes.Expr]:
    return [bound or nodes.Const(None) for bound in (cut.start, cut.stop, cut.step)]


def _constant(node: nodes.Expr) -> str:
    index = node.arg if isinstance(node, nodes.Getitem) else None
    return str(index.value) if isinstance(index, nodes.Const) else ""


class _Formatter(SandboxedFormatter):
    """Prints in `format` as elsewhere."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        if not isinstance(value, str | int | float | Decimal | dt.date | dt.time) or not format_spec:
            value = printed(value)
        return super().format_field(value, format_spec)

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        if conversion == "r":
            return repr(plain(value))
        return printed(value) if conversion == "s" else super().convert_field(value, conversion)


class Sandbox(SandboxedEnvironment):
    """A strict environment. `columns`: the names that a template may use for columns. `growth`: what the current row
    may still use."""

    code_generator_class = _Generator

    def __init__(self, columns: Iterable[str]) -> None:
        super().__init__(
            undefined=Absent,
            finalize=printed,
            optimized=False,
            cache_size=0,
            extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"],
        )
        self.columns = frozenset(columns)
        self.growth = Growth()
        self.concat = self.growth.joined  # type: ignore[method-assign]
        del self.globals["lipsum"]
        self.filters = {**environment_filters(self), _COUNTED: self.growth.counted}
        self.tests |= {**COMPARISON_TESTS, "startingwith": str.startswith, "endingwith": str.endswith}
        self.tests["none"] = lambda value: value is None or isinstance(value, Null)

    def compiled(self, tree: nodes.Template) -> Template:
        """Compiles a syntax tree. Raises TemplateSyntaxError, and what Python's compiler raises."""
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _COUNTED, [], [], None, None, lineno=loop.lineno)
        return Template.from_code(self, self.compile(tree, "prompt", SOURCE), self.globals)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        is_clock = attr in _CLOCKS and isinstance(obj, dt.date)  # whose prompt would be another in each pass
        return not is_clock and super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Returns a value's attribute or key. A mapping's own key takes precedence over Python's method of that
        name, unless the method is called. Raises for what a struct, a text or a number does not have. What a mapping
        of the template's own, or a namespace, does not have may be tested for."""
        method = attribute.removeprefix(_METHOD)
        if isinstance(obj, Mapping) and method == attribute and attribute in obj:
            return obj[attribute]
        found = super().getattr(obj, method)
        if type(found) is Absent and not isinstance(obj, Mapping | Namespace) and not hasattr(type(obj), method):
            found.refuse()
        return _of_fields(obj, method, found)

    def getitem(self, obj: Any, argument: Any) -> Any:
        found = super().getitem(obj, argument)
        if type(found) is Absent and isinstance(obj, Mapping):
            refuse_unlike_item(argument, obj)
        return _of_fields(obj, argument, found)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063  Jinja's signature
        __self.growth.step(STEPS_A_CALL)
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps a text's own `format`
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes | int | list | tuple | Mapping):
            _refuse_look_up(method.__name__, owner, args)
            args = __self.growth.before_call(method.__name__, owner, (*args, *kwargs.values()))[: len(args)]
        elif isinstance(__obj, LoopContext) and args:
            args = (__self.growth.counted(args[0]), *args[1:])
        return __self.growth.take_made(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Any:
        text = getattr(value, "__self__", None)
        if not isinstance(text, str) or getattr(value, "__name__", "") not in {"format", "format_map"}:
            return None

        def wrapper(*args: Any, **kwargs: Any) -> str:
            is_map = value.__name__ == "format_map"
            return _Formatter(self).vformat(str(text), () if is_map else args, args[0] if is_map else kwargs)

        return functools.update_wrapper(wrapper, value)

    def compare(self, operators: Sequence[str], names: Sequence[Operand], *operands: Any) -> bool:
        """Returns whether each operand compares to the next as its operator says."""
        return all(
            compared(sign, operands[at], operands[at + 1], names[at : at + 2]) for at, sign in enumerate(operators)
        )

    def calculate(self, operators: Sequence[str], names: Sequence[Operand], left: Any, right: Any) -> Any:
        return calculated(operators[0], left, right, names, self.growth)

    def part(self, _: Sequence[str], __: Sequence[Operand], whole: Any, bounds: tuple[Any, Any, Any]) -> Any:
        """Returns the slice of a text or a list."""
        return self.growth.take_made(whole[slice(*bounds)])

    def concatenate(self, _: Sequence[str], __: Sequence[Operand], *operands: Any) -> str:
        return self.growth.joined(map(printed, operands))

    def concatenate_escaped(self, _: Sequence[str], __: Sequence[Operand], *operands: Any) -> str:
        return markup_join(map(printed, operands))


_CLOCKS = frozenset({"today", "now", "utcnow"})


def _of_fields(obj: Any, key: Any, found: Any) -> Any:
    """Returns what was found. Raises TemplateFault if a struct or the row has no such field in any row."""
    if type(found) is Absent and isinstance(obj, Fields):
        raise TemplateFault(f"there is no {key!r}; there are {', '.join(list(obj)[:20])}")
    return found


def _refuse_look_up(method: str, owner: Any, args: tuple[Any, ...]) -> None:
    if method not in {"get", "count", "index"} or not args:
        return
    if isinstance(owner, Fields) and args[0] not in owner:
        _of_fields(owner, args[0], Absent())
    refuse_unlike_item(args[0], owner)
