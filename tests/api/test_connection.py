"""The way to a service, as a value."""

import pickle

import pytest
from support.connections import connection

from batchgen.api.dialects import CHATS, COMPLETIONS, Dialect
from batchgen.api.proxy import Proxy

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("dialect", [*COMPLETIONS.values(), *CHATS.values()], ids=lambda dialect: dialect.name)
def test_another_process_gets_the_same(dialect: Dialect):
    ours = connection("http://a", "http://b", dialect=dialect, proxy=Proxy("http://p", "user:password"), slots=7)
    theirs = pickle.loads(pickle.dumps(ours))
    assert theirs == ours
    assert theirs.dialect is dialect


def test_one_for_each_server():
    several = connection("http://a", "http://b", slots=7)
    assert several.each() == [connection("http://a", slots=7), connection("http://b", slots=7)]
