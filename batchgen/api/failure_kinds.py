"""Defines the kinds of failures, and the one table of what follows from each: whom it concerns, whether it is billed,
how often the row is tried, whom it slows, and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class Kind(enum.StrEnum):
    """Names why an attempt failed, by what can be done about it."""

    INVALID = "invalid"  # this row cannot be served
    REFUSED = "refused"  # this row's content is refused
    KEY = "key"  # no row can be served: bad key, no permission, no payment
    MODEL = "model"  # no row can be served: the model is unknown or removed
    PROXY = "proxy"  # no row can be served: the proxy wants a password
    QUOTA = "quota"  # no row can be served: the month's quota is used up
    MISDIRECTED = "misdirected"  # the address does not answer as this service does
    BUSY = "busy"  # everyone slows down, then this row again
    TRANSIENT = "transient"  # this row again
    UNSENT = "unsent"  # the request never left: this row again
    UNANSWERED = "unanswered"  # sent and not answered: possibly billed
    UNUSABLE = "unusable"  # answered with 200 and nothing usable in it: billed
    UNFIT = "unfit"  # answered, and the text is not what the job wants: billed
    CUT = "cut"  # answered, and cut at its longest, which the job does not want: billed

    @property
    def policy(self) -> Policy:
        """Returns what follows from this kind of failure."""
        return POLICIES[self]


class Scope(enum.Enum):
    """Names whom a failure concerns."""

    ROW = "row"
    SERVER = "server"  # or the network: the next attempt may be answered
    RUN = "run"  # every row


class Billed(enum.Enum):
    """Names whether an attempt was paid for."""

    NO = "no"
    MAYBE = "maybe"  # or for an unknown number of tokens: a retry may buy the answer again
    YES = "yes"  # there is an answer, and its tokens count


class Tries(enum.Enum):
    """Names how often a row is tried that keeps failing in the same way (`send/retry.py`)."""

    ONCE = "once"
    AS_SET = "retry.attempts"
    FEW = "retry.attempts, five at most"
    MANY = "five times retry.attempts"
    CHECKED = "check.retries, and once"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Says what follows from a kind of failure. `is_doubtful`: it may concern this row or all rows, which the outcomes
    of other rows show. `reaches_server`: the request reached the server. `slows`: all rows wait, not only this one.
    `is_the_servers`: of several servers, it counts against the one that was asked. `meaning` and `advice` are for
    people; `{key_source}` in an advice stands for where the key is read from."""

    scope: Scope
    billed: Billed = Billed.NO
    tries: Tries = Tries.ONCE
    is_doubtful: bool = False
    reaches_server: bool = True
    slows: bool = False
    is_the_servers: bool = False
    meaning: str
    advice: str


POLICIES = {
    Kind.INVALID: Policy(
        scope=Scope.ROW,
        is_doubtful=True,
        meaning="the row cannot be served",
        advice="change what these words name, in request or endpoint",
    ),
    Kind.REFUSED: Policy(
        scope=Scope.ROW,
        meaning="its content is refused",
        advice="change the row's words",
    ),
    Kind.KEY: Policy(
        scope=Scope.RUN,
        is_doubtful=True,
        meaning="the key, or what it may do",
        advice="check the key in {key_source} and what it may do",
    ),
    Kind.MODEL: Policy(
        scope=Scope.RUN,
        meaning="the model is unknown or removed",
        advice="name a model that the service has in request.model",
    ),
    Kind.PROXY: Policy(
        scope=Scope.RUN,
        reaches_server=False,
        meaning="the proxy wants a user name and a password",
        advice="set endpoint.proxy_env to the variable that holds the proxy's user name and password",
    ),
    Kind.QUOTA: Policy(
        scope=Scope.RUN,
        meaning="the quota of the month is used up",
        advice="the month's quota is used up: raise it, or run again when it is renewed",
    ),
    Kind.MISDIRECTED: Policy(
        scope=Scope.RUN,
        is_doubtful=True,
        meaning="the address does not answer as the service does",
        advice="check endpoint.url (or WRITER_BASE_URL): it does not answer as the service does",
    ),
    Kind.BUSY: Policy(
        scope=Scope.SERVER,
        tries=Tries.MANY,
        slows=True,
        meaning="refused by rate: everyone waits",
        advice="lower limits.requests_per_minute or limits.concurrency; if it is always the same rows, shorten them",
    ),
    Kind.TRANSIENT: Policy(
        scope=Scope.SERVER,
        tries=Tries.AS_SET,
        is_the_servers=True,
        meaning="the service failed in passing",
        advice="run again",
    ),
    Kind.UNSENT: Policy(
        scope=Scope.SERVER,
        tries=Tries.AS_SET,
        reaches_server=False,
        is_the_servers=True,
        meaning="the request never left",
        advice="check endpoint.url (or WRITER_BASE_URL), endpoint.proxy and the network",
    ),
    Kind.UNANSWERED: Policy(
        scope=Scope.SERVER,
        billed=Billed.MAYBE,
        tries=Tries.FEW,
        is_the_servers=True,
        meaning="sent and not answered: possibly billed",
        advice="raise timeout.total, or lower limits.concurrency",
    ),
    Kind.UNUSABLE: Policy(
        scope=Scope.ROW,
        billed=Billed.MAYBE,
        tries=Tries.FEW,
        is_doubtful=True,
        is_the_servers=True,
        meaning="answered with nothing usable: billed",
        advice="if these words do not say why, check endpoint.url (or WRITER_BASE_URL) and endpoint.api",
    ),
    Kind.UNFIT: Policy(
        scope=Scope.ROW,
        billed=Billed.YES,
        tries=Tries.CHECKED,
        meaning="the text does not pass the job's check: billed",
        advice="change the prompt, or what `check` asks for",
    ),
    Kind.CUT: Policy(
        scope=Scope.ROW,
        billed=Billed.YES,
        meaning="the answer was cut at its longest, and the job's check wants it complete: billed",
        advice="raise request.max_tokens, or the model's context where fewer tokens came",
    ),
}


def kinds_of(scope: Scope) -> frozenset[Kind]:
    """Returns the kinds of failures that have this scope."""
    return frozenset(kind for kind in Kind if kind.policy.scope is scope)


class StatusPolicy(NamedTuple):
    """Says what a status means without a body. `slows`: all rows wait after it. `is_limit`: if others are answered
    meanwhile, it is a limit or a full queue. `whoever_asks`: it is about the key, never about the row."""

    kind: Kind
    slows: bool = False
    is_limit: bool = False
    whoever_asks: bool = False


STATUSES = {
    **dict.fromkeys((401, 402), StatusPolicy(Kind.KEY, whoever_asks=True)),
    403: StatusPolicy(Kind.KEY),
    407: StatusPolicy(Kind.PROXY, whoever_asks=True),
    429: StatusPolicy(Kind.BUSY, slows=True),
    408: StatusPolicy(Kind.TRANSIENT, is_limit=True),
    **dict.fromkeys((503, 529), StatusPolicy(Kind.TRANSIENT, slows=True, is_limit=True)),
    **dict.fromkeys((409, 424, 500, 502, 507), StatusPolicy(Kind.TRANSIENT)),
    **dict.fromkeys((499, 504, 524, 599), StatusPolicy(Kind.UNANSWERED)),
    **dict.fromkeys((404, 405, 410, 501), StatusPolicy(Kind.MISDIRECTED)),
}
"""None of these is about the row. 424: TGI, when a generation failed. 504, or Cloudflare's 524: a gateway that lost
patience; the request was passed on, and may have been billed. 499: likewise, Dynamo's, when the worker that had it was
stopped. 599: jupyter-server-proxy's, whose server broke off; one that cannot be reached is a 500 there. Limits: nginx'
`limit_req`, Envoy's overflow, uvicorn and HAProxy send 503, a full queue of vllm-router 408."""
_BY_CLASS = {
    5: StatusPolicy(Kind.TRANSIENT),
    4: StatusPolicy(Kind.INVALID),
    2: StatusPolicy(Kind.UNUSABLE),
}


def status_policy(status: int | None) -> StatusPolicy:
    """Returns what a status means. Other ones go by class: 5xx may heal, 4xx is about the row, 3xx is not this service,
    except a cache's 304."""
    if status == 304:  # noqa: PLR2004
        return _BY_CLASS[5]
    return STATUSES.get(status or 0) or _BY_CLASS.get((status or 0) // 100) or StatusPolicy(Kind.MISDIRECTED)
