"""Profiles of AWS's own tools, read from ~/.aws/credentials and ~/.aws/config when the environment holds no key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from batchgen.errors import UsageError

if TYPE_CHECKING:
    import configparser

_ELSEWHERE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Variables that name credentials and take precedence over a profile."""
_SETTINGS = ("region", "endpoint_url")
_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns keys, region and endpoint of the active profile. Raises UsageError if AWS_PROFILE names one without
    keys."""
    name = environ.get("AWS_PROFILE", "")
    section = {**_section(environ, "config", name), **_section(environ, "credentials", name)}
    found = {key: section[key] for key in _SETTINGS if key in section} | _of_s3(environ, section.get("services", ""))
    if any(environ.get(variable) for variable in _ELSEWHERE):
        return found
    if name and not all(key in section for key in _KEYS[:2]):
        raise UsageError(
            f"AWS_PROFILE: the profile {name!r} holds no keys: `aws configure export-credentials --profile {name} "
            "--format env` gives them as variables"
        )
    return found | {key: section[key] for key in _KEYS if key in section}


def _of_s3(environ: Mapping[str, str], services: str) -> dict[str, str]:
    """Returns the endpoint that a section `[services NAME]` has for S3 alone; empty if there is none."""
    said = _parsed(environ, "config")
    indented = said.get(f"services {services}", "s3", fallback="")
    found = re.search(r"^\s*endpoint_url\s*=\s*(\S+)", indented, re.MULTILINE)
    return {"endpoint_url": found[1]} if found else {}


def _section(environ: Mapping[str, str], kind: str, name: str) -> Mapping[str, str]:
    parser = _parsed(environ, kind)
    section = f"profile {name}" if kind == "config" and name not in ("", "default") else name or "default"
    return dict(parser[section]) if parser.has_section(section) else {}


def _parsed(environ: Mapping[str, str], kind: str) -> configparser.ConfigParser:
    import configparser  # noqa: PLC0415  most jobs use no store

    variable = {"config": "AWS_CONFIG_FILE", "credentials": "AWS_SHARED_CREDENTIALS_FILE"}[kind]
    path = Path(environ.get(variable) or Path(environ.get("HOME", "~")) / ".aws" / kind).expanduser()
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="\0")
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error):
        raise UsageError(f"{path}: cannot be read as a file of AWS profiles") from None
    return parser
