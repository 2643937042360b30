"""The passes of a run, summed."""

import pytest

from batchgen.api.usage import NOTHING
from batchgen.runner.passes import Passes
from batchgen.runner.sender import SendResult
from batchgen.send.stats import Stats


@pytest.mark.parametrize(
    ("learned", "kept"),
    [
        pytest.param((600.0, None), 600.0, id="the second, of a few damaged answers, was never refused"),
        pytest.param((None, 600.0), 600.0, id="the second was"),
        pytest.param((600.0, 500.0), 500.0, id="both were: the server as it is now"),
    ],
)
def test_what_a_server_grants_is_known_after_all_passes(learned, kept):
    passes = Passes()
    for rate in learned:
        passes.add(SendResult(Stats(1), NOTHING, (0, 8.0), None, None, rate, is_broken=False))
    assert passes.learned == kept
