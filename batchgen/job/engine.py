"""The `engine` section: how `run --engine ray` spreads attempts over processes."""

from __future__ import annotations

import math

from pydantic import Field

from batchgen.job.types import Finite, Section

IN_FLIGHT = 256


class Ray(Section):
    """Ray's actors: processes that make attempts, each on its own."""

    actors: int | None = Field(None, ge=1, le=1000, description="default: as many as limits.concurrency needs")
    cpus_per_actor: Finite = Field(1.0, ge=0, description="what Ray reserves for one; 0: it may go anywhere")
    in_flight_per_actor: int | None = Field(
        None, ge=1, le=10_000, description=f"most requests in flight in one; default: their share, or {IN_FLIGHT}"
    )

    def number(self, concurrency: int) -> int:
        """Returns the number of actors for so many requests in flight."""
        return self.actors or math.ceil(concurrency / (self.in_flight_per_actor or IN_FLIGHT))

    def in_flight(self, concurrency: int) -> int:
        """Returns the most requests in flight in one actor. If some actors are lost, the others take over up to this
        number."""
        return self.in_flight_per_actor or max(IN_FLIGHT, math.ceil(concurrency / self.number(concurrency)))

    def cpus(self, concurrency: int) -> int:
        """Returns the CPUs that all actors need together."""
        return max(1, math.ceil(self.number(concurrency) * self.cpus_per_actor))


class Engine(Section):
    """Where attempts are made."""

    ray: Ray = Ray()
