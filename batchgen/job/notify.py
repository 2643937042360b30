"""The `notify` section: who hears how a run ended. The address may be a secret itself, and is never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from batchgen.errors import OK, Stopped, UsageError
from batchgen.job.endpoint import crosses_in_the_clear, parts_of
from batchgen.job.types import Section, VariableName

EXIT_CODE = "{exit_code}"


def notify_url(url: str) -> str:
    """Checks the address. Raises ValueError; its messages show nothing of the address."""
    filled = url.replace(EXIT_CODE, "0")
    if "{" in filled:
        raise ValueError(f"holds a placeholder that is not known: {EXIT_CODE} is")
    parts_of(filled, "an address such as https://hooks.example.com/batchgen", query=True)
    if crosses_in_the_clear(filled):
        raise ValueError("should be https (http is for this machine only)")
    return url


def _checked(url: Any) -> Any:
    return notify_url(url) if isinstance(url, str) else url


class Notify(Section):
    """Where to POST how a run ended, as JSON. Nowhere if there is no address."""

    url: Annotated[SecretStr, BeforeValidator(_checked, json_schema_input_type=str)] | None = Field(
        None, description="where to; {exit_code} in it becomes the run's exit code"
    )
    url_env: VariableName | None = Field(
        None, description="the name of the variable that holds the address, in place of url"
    )
    on: list[Literal["failed", "stopped", "always"]] = Field(
        ["failed", "stopped"],
        min_length=1,
        description="failed: exit 1, 2, 4 and 5, and crashes; stopped: exit 3; always: every run",
    )

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        given = (self.url is not None) + (self.url_env is not None)
        if given != 1 and self.model_fields_set:
            raise ValueError("should have one of url and url_env")
        return self

    def wants(self, exit_code: int) -> bool:
        ending = {OK: "always", Stopped.exit_code: "stopped"}.get(exit_code, "failed")
        return "always" in self.on or ending in self.on

    def address(self, environ: Mapping[str, str]) -> str | None:
        """Returns the address; None if nobody is notified. Raises UsageError if the variable holds no address."""
        if self.url_env is None:
            return self.url.get_secret_value() if self.url is not None else None
        given = environ.get(self.url_env, "").strip()
        if not given:
            raise UsageError(f"{self.url_env}: no address to notify: set it, or take notify out of the job file")
        try:
            return notify_url(given)
        except ValueError as error:
            raise UsageError(f"{self.url_env} {error}") from None
