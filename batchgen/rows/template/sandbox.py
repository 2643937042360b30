"""Jinja2 itself, in its sandbox, made strict: what Jinja would guess, print or build without end is refused.

Jinja2 decides what a template means. What is added: operators that confuse no text with a number, printing that knows
only what has a text, and an end for a template that has none. Knows no columns and no file.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Template, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batchgen.rows.template.filters import environment_filters
from batchgen.rows.template.growth import STEPS_A_CALL, Growth
from batchgen.rows.template.operators import COMPARISON_TESTS, calculated, compared
from batchgen.rows.template.values import Absent, Null, printed


class _Generator(CodeGenerator):
    """Compiles comparisons, arithmetic, `~` and calls of methods to calls of the environment, which watches them."""

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        operands = [node.expr, *(operand.expr for operand in node.ops)]
        self._call("compare", [operand.op for operand in node.ops], operands, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        if frame.eval_ctx.volatile or frame.eval_ctx.autoescape:
            super().visit_Concat(node, frame)
        else:
            self._call("concatenate", [], node.nodes, frame)

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
        """environment.method(operators, names of the operands, operands...)"""
        self.write(f"environment.{method}({tuple(operators)!r}, {tuple(map(_name, operands))!r}, ")
        for operand in operands:
            self.visit(operand, frame)
            self.write(", ")
        self.write(")")

    def _make_finalize(self) -> CodeGenerator._FinalizeInfo:
        """Nothing is printed while the template is compiled."""
        return self._FinalizeInfo(None, "environment.finalize(")


SOURCE = "<prompt>"
"""The file that a compiled template's lines are of."""
_METHOD = "method "
_COUNTED = "counted "
"""No template can write a name with a blank."""


def _name(node: nodes.Expr) -> str:
    """How a message names an operand: the column, as far as it is one."""
    if isinstance(node, nodes.Name):
        return node.name
    key = node.attr if isinstance(node, nodes.Getattr) else _constant(node)
    of = _name(node.node) if isinstance(node, nodes.Getattr | nodes.Getitem) else ""
    return key if of == "row" else f"{of}.{key}" if of and key else ""


def _bounds(cut: nodes.Slice) -> list[nodes.Expr]:
    return [bound or nodes.Const(None) for bound in (cut.start, cut.stop, cut.step)]


def _constant(node: nodes.Expr) -> str:
    index = node.arg if isinstance(node, nodes.Getitem) else None
    return str(index.value) if isinstance(index, nodes.Const) else ""


class Sandbox(ImmutableSandboxedEnvironment):
    """`growth`: what is left to the row at hand."""

    code_generator_class = _Generator

    def __init__(self) -> None:
        super().__init__(
            undefined=Absent,
            finalize=printed,
            optimized=False,
            cache_size=0,
            extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"],
        )
        self.growth = Growth()
        self.concat = self.growth.joined  # type: ignore[method-assign]
        del self.globals["lipsum"]
        self.filters = {**environment_filters(self), _COUNTED: self.growth.counted}
        self.tests |= {**COMPARISON_TESTS, "startingwith": str.startswith, "endingwith": str.endswith}
        self.tests["none"] = lambda value: value is None or isinstance(value, Null)

    def compiled(self, tree: nodes.Template) -> Template:
        """The template of a syntax tree. Raises TemplateSyntaxError, and what Python's compiler raises."""
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _COUNTED, [], [], None, None, lineno=loop.lineno)
        return Template.from_code(self, self.compile(tree, "prompt", SOURCE), self.globals)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A mapping's own key comes before Python's method of that name, but where the method is called."""
        method = attribute.removeprefix(_METHOD)
        if isinstance(obj, Mapping) and method == attribute and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, method)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063  Jinja's signature
        __self.growth.step(STEPS_A_CALL)
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps a text's own `format`
        if isinstance(method, types.BuiltinMethodType):
            args = __self.growth.before_call(method.__name__, method.__self__, (*args, *kwargs.values()))[: len(args)]
        made = super().call(__context, __obj, *args, **kwargs)
        __self.growth.take(len(made) if isinstance(made, str) else 0)
        return made

    def compare(self, operators: Sequence[str], names: Sequence[str], *operands: Any) -> bool:
        """Whether each operand stands to the next as its operator says."""
        return all(
            compared(sign, operands[at], operands[at + 1], names[at : at + 2]) for at, sign in enumerate(operators)
        )

    def calculate(self, operators: Sequence[str], names: Sequence[str], left: Any, right: Any) -> Any:
        return calculated(operators[0], left, right, names, self.growth)

    def part(self, _: Sequence[str], __: Sequence[str], whole: Any, bounds: tuple[Any, Any, Any]) -> Any:
        """The slice of a text or a list."""
        made = whole[slice(*bounds)]
        self.growth.take(len(made))
        return made

    def concatenate(self, _: Sequence[str], __: Sequence[str], *operands: Any) -> str:
        return self.growth.joined(map(printed, operands))
