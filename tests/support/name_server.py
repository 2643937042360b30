"""A name server that never answers, for a process in a mount namespace of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEAF = """
import socket
deaf = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
deaf.bind(("127.83.1.9", 53))
"""


def said_where_no_name_server_answers(folder: Path, source: str, **env: str) -> str:
    """What these lines of Python print, where no name server answers."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("needs a mount namespace")
    (folder / "resolv.conf").write_text("nameserver 127.83.1.9\noptions timeout:30 attempts:1\n")
    (folder / "silent.py").write_text(DEAF + source)
    command = f"mount --bind {folder}/resolv.conf /etc/resolv.conf && exec {sys.executable} {folder}/silent.py"
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, check=False, env={**os.environ, **env}
    )
    if "mount" in ended.stderr or "unshare" in ended.stderr:
        pytest.skip("may not make a mount namespace")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
