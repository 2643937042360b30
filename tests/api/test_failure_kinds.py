"""The one table of what follows of a failure: whole, consistent, and nowhere repeated."""

import ast
from pathlib import Path

import pytest

from batchgen.api import failure_kinds
from batchgen.api.failure_kinds import POLICIES, STATUSES, Billed, Kind, Scope, Tries, status_policy

PACKAGE = Path(failure_kinds.__file__).parent.parent
ELSEWHERE = sorted(path for path in PACKAGE.rglob("*.py") if path != Path(failure_kinds.__file__))


def test_every_kind_has_its_policy_and_every_policy_its_words():
    assert set(POLICIES) == set(Kind)
    assert all(policy.meaning and policy.advice for policy in POLICIES.values())
    assert all(policy.advice.format(key_source="KEY") for policy in POLICIES.values())


@pytest.mark.parametrize("kind", Kind)
def test_entries_fit_each_other(kind: Kind):
    policy = kind.policy
    assert policy.scope is not Scope.RUN or policy.tries is Tries.ONCE, "what ends the run is not tried again"
    assert policy.scope is not Scope.SERVER or policy.tries is not Tries.ONCE, "the next attempt may be answered"
    assert policy.billed is Billed.NO or policy.reaches_server, "what never left cost nothing"
    assert policy.billed is not Billed.MAYBE or policy.tries is Tries.FEW, "each retry may buy the answer again"
    assert not policy.slows or policy.scope is Scope.SERVER


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_means_what_its_kind_allows(status: int):
    means = status_policy(status)
    assert not means.slows or means.kind.policy.scope is Scope.SERVER
    assert not means.is_limit or means.kind is Kind.TRANSIENT
    assert not means.whoever_asks or means.kind.policy.scope is Scope.RUN


def kinds_listed(path: Path) -> list[str]:
    """Where a module lists kinds: as a set, a tuple, a list, or the keys of a mapping."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        listed = node.elts if isinstance(node, ast.Set | ast.Tuple | ast.List) else getattr(node, "keys", [])
        kinds = [one for one in listed if isinstance(one, ast.Attribute) and ast.unparse(one.value) == "Kind"]
        found += [ast.unparse(node)] if len(kinds) > 1 else []
    return found


@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_says_it_again(path: Path):
    assert kinds_listed(path) == []
