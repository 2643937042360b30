"""Finds the names that a template reads from outside: the columns it needs, and names that are misspelled.

Uses Jinja's own syntax tree. A template may set a name. If every path to a use sets it first, it is the template's own;
if only some do, it may be the column's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from jinja2 import nodes
from jinja2.visitor import NodeVisitor

ROW = "row"
"""The name of the mapping of all columns: row["First Name"]."""
Scope = dict[str, bool]
"""For each name, whether it is always set."""


@dataclass
class Reads:
    """The names that are read, each with its first line. `unset`: nothing in the template sets them. `unsure`:
    something may have set them. `keys`: those of `row`. `whole`: the line where `row` is used as a whole, 0 if
    nowhere."""

    unset: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, int] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    whole: int = 0


def reads(tree: nodes.Template) -> Reads:
    found = _Names()
    found.visit(tree)
    found.visit_macros()
    return found.reads


class _Names(NodeVisitor):
    def __init__(self) -> None:
        self.reads = Reads()
        self._scopes: list[Scope] = [{}]
        self._macros: list[tuple[list[Scope], Callable[[], None]]] = []

    def visit_macros(self) -> None:
        """Visits macros last: a macro that is called later sees what was set in between."""
        while self._macros:
            scopes, body = self._macros.pop(0)
            self._scopes = scopes
            body()

    def visit_Name(self, node: nodes.Name) -> None:
        if node.ctx != "load":
            self._set(node.name)
        elif node.name == ROW and self._is_certain(ROW) is None:
            self.reads.whole = self.reads.whole or node.lineno
        else:
            self._read(node.name, node.lineno)

    def visit_NSRef(self, node: nodes.NSRef) -> None:
        self._read(node.name, node.lineno)

    def visit_Getattr(self, node: nodes.Getattr) -> None:
        self._key(node, node.attr)

    def visit_Getitem(self, node: nodes.Getitem) -> None:
        self._key(node, node.arg.value if isinstance(node.arg, nodes.Const) else None)

    def visit_Call(self, node: nodes.Call) -> None:
        method = node.node
        if isinstance(method, nodes.Getattr) and _is_row(method.node):
            self.visit(method.node)
            self._visit_all(child for child in node.iter_child_nodes() if child is not method)
        else:
            self.generic_visit(node)

    def visit_Assign(self, node: nodes.Assign) -> None:
        self._visit_all([node.node, node.target])

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> None:
        self._visit_all([node.filter] if node.filter else [])
        self._within((), node.body)
        self.visit(node.target)

    def visit_If(self, node: nodes.If) -> None:
        self._visit_all([node.test, *(branch.test for branch in node.elif_)])
        ways = [self._way(body) for body in (node.body, *(branch.body for branch in node.elif_), node.else_)]
        names = {name for way in ways for name in way}
        self._scopes[-1].update({name: all(way.get(name, False) for way in ways) for name in names})

    def _way(self, body: Iterable[nodes.Node]) -> Scope:
        """Returns the names that are set after this branch."""
        before = self._scopes[-1]
        self._scopes[-1] = dict(before)
        self._visit_all(body)
        after, self._scopes[-1] = self._scopes[-1], before
        return after

    def visit_For(self, node: nodes.For) -> None:
        self.visit(node.iter)
        self._within(["loop"], [node.target, *([node.test] if node.test else []), *node.body])
        self._within((), node.else_)

    def visit_With(self, node: nodes.With) -> None:
        self._visit_all(node.values)
        self._within((), [*node.targets, *node.body])

    def visit_Macro(self, node: nodes.Macro) -> None:
        self._set(node.name)
        self._later(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> None:
        self.visit(node.call)
        self._later(node)

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> None:
        self.visit(node.filter)
        self._within((), node.body)

    def visit_Block(self, node: nodes.Block) -> None:
        """Visits a block. It sees what is set at the top level before it is shown, and nothing of what surrounds it."""
        outer = self._scopes
        self._scopes = outer if node.scoped else [dict.fromkeys(outer[0], False)]
        self._within(["super"], node.body)
        self._scopes = outer

    def _later(self, node: nodes.Macro | nodes.CallBlock) -> None:
        given = ["caller", "varargs", "kwargs"]
        parts = [*node.args, *node.defaults, *node.body]
        self._macros.append((list(self._scopes), lambda: self._within(given, parts)))

    def _within(self, names: Iterable[str], body: Iterable[nodes.Node]) -> None:
        self._scopes.append(dict.fromkeys(names, True))
        self._visit_all(body)
        self._scopes.pop()

    def _visit_all(self, children: Iterable[nodes.Node]) -> None:
        for child in children:
            self.visit(child)

    def _set(self, name: str) -> None:
        self._scopes[-1][name] = True

    def _is_certain(self, name: str) -> bool | None:
        """Returns whether the name is always set; None if it is never set."""
        found = [scope[name] for scope in self._scopes if name in scope]
        return any(found) if found else None

    def _read(self, name: str, line: int) -> None:
        certain = self._is_certain(name)
        if not certain:
            (self.reads.unset if certain is None else self.reads.unsure).setdefault(name, line)

    def _key(self, node: nodes.Getattr | nodes.Getitem, key: object) -> None:
        if _is_row(node.node) and isinstance(key, str) and self._is_certain(ROW) is None:
            self.reads.keys.setdefault(key, node.lineno)
        else:
            self.generic_visit(node)


def _is_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == ROW
