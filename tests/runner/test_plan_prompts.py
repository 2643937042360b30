"""The plan shows prompts that would be sent, as many as were asked for, and all that scripts need."""

import pytest


def rows_of(count: int) -> list[dict[str, str]]:
    return [{"id": f"{number:02}", "name": f"shelf {number}", "rank": str(number % 7)} for number in range(count)]


def prompts_of(*numbers: int) -> list[str]:
    return [f"Write about shelf {number}." for number in numbers]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        pytest.param([], [0, 1, 2], id="three, unless more are asked for"),
        pytest.param(["--rows", 5], [0, 1, 2, 3, 4], id="five"),
        pytest.param(["--rows", 0], [], id="none"),
        pytest.param(["--rows", 100], list(range(9)), id="as many as there are"),
        pytest.param(["--rows", 2**64], list(range(9)), id="more than a number of 64 bits"),
        pytest.param(["--rows", 5, "--limit", 2], [0, 1], id="of those within the limit"),
    ],
)
def test_a_plan_shows_so_many_prompts(options, numbers, job, called):
    path = job(rows_of(9))
    assert called("plan", path, "--json", *options).json["prompts"] == prompts_of(*numbers)
    shown = called("plan", path, *options).stdout
    assert [line for line in shown.splitlines() if line.startswith("prompt ")] == [
        f"prompt {number}:" for number in range(1, len(numbers) + 1)
    ]


def test_prompts_that_are_answered_are_not_among_those_to_be_sent(job, service, called):
    path = job(rows_of(9))
    called("run", path, "--limit", 4)
    assert called("plan", path, "--json", "--rows", 2).json["prompts"] == prompts_of(4, 5)
    called("run", path)
    assert called("plan", path, "--json").json["prompts"] == []


def test_the_first_that_would_be_sent_come_first(job, service, called):
    path = job(rows_of(9), priority="rank", limits={"concurrency": 1})
    planned = called("plan", path, "--json", "--rows", 3).json["prompts"]
    assert planned == prompts_of(6, 5, 4)
    asked: list[str] = []
    service.script = lambda _, body: asked.append(body["prompt"])
    called("run", path)
    assert asked[:3] == planned


def test_scripts_find_all_that_they_need(job, service, called):
    path = job(rows_of(9), prices={"palmyra-x5": {"input": 1000.0, "output": 1000.0}})
    ended = called("run", path, "--limit", 4, "--json").json
    plan = called("plan", path, "--json").json
    assert (plan["rows"], plan["todo"], plan["reused"]) == (9, 5, 4)
    assert plan["tokens"] == plan["prompt_tokens"] + plan["answer_tokens"]
    assert plan["cost"] == pytest.approx(plan["tokens"] / 1000)
    assert plan["seconds"] is not None
    assert plan["in_all"] == ended["in_all"]
    assert plan["in_all"]["cost"] > 0
    told = called("plan", path).stdout
    assert f"so far    {ended['prompt_tokens'] + ended['answer_tokens']:,} tokens, ${ended['cost']:,.2f}" in told
