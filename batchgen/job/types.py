"""The types of values in a job file, each checked as it is read. Opens nothing that a value names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from batchgen.storage.location import ObjectUrl, is_url

Finite = Annotated[float, Field(allow_inf_nan=False)]


def context(info: ValidationInfo) -> dict[str, Any]:
    """Returns `folder` and `stem` of the job file, and what its checks have noted so far."""
    return info.context or {}


def relative_to_job(path: Any, info: ValidationInfo) -> Any:
    path = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(path, str) or not path.strip() or "\x00" in path:
        raise ValueError("should be a path")
    if is_url(path):
        return str(ObjectUrl.parse(path))
    try:
        given = Path(path).expanduser() if path.startswith("~") else path
    except RuntimeError:
        raise ValueError(f"names the home folder of an unknown user; a file of that name is ./{path}") from None
    return os.path.normpath(Path(context(info)["folder"]) / given)


JobPath = Annotated[str, BeforeValidator(relative_to_job), Field(min_length=1)]


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise ValueError("should be the NAME of an environment variable, in capitals, and not what it holds")
    return name


VariableName = Annotated[str, AfterValidator(_variable)]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", value):
            raise ValueError("should be a duration such as 90s, 45m, 6h or 1h30m")
        return sum(float(n) * _UNITS[unit] for n, _, unit in re.findall(r"(\d+(\.\d+)?)([smhd])", value))
    return value


Duration = Annotated[
    float, BeforeValidator(_duration, json_schema_input_type=str | float), Field(gt=0, allow_inf_nan=False)
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False)


def validation_error(loc: tuple[str, ...], message: str) -> ValidationError:
    """Returns the error that a section's own validator raises for one of its keys."""
    kind = PydanticCustomError("disagreement", "{message}", {"message": message})
    return ValidationError.from_exception_data("job", [{"type": kind, "loc": loc, "input": ()}])
