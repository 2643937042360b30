"""The built-in server, started as a user starts it."""

import re
import subprocess
from contextlib import contextmanager

from conftest import COMMAND
from support.service import PATIENCE


@contextmanager
def serving(*options):
    """`batchgen serve` with these options, and its URL. It must have nothing to complain about."""
    command = [COMMAND, "serve", "--port", "0", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            said = re.fullmatch(r"serving local-ngram at (http://\S+)/v1/completions; Ctrl-C ends it\n", line)
            assert said, line + process.stderr.read()
            yield said[1]
        finally:
            out, err = ended(process)
    assert err == ""
    assert (process.returncode, out) == (0, "")


def ended(process) -> tuple[str, str]:
    process.terminate()
    try:
        return process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
