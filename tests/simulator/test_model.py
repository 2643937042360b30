"""The built-in model: a proper distribution, honestly reported, that obeys every field of a request."""

import itertools
import math
import statistics
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.api.types import SERVER_MAX_TOKENS, Choice, CompletionRequest, TokenLogProb
from batchgen.simulator.draw import Draw
from batchgen.simulator.model import Model, load
from batchgen.simulator.ngram import END, START, tokenize

MODEL = load()
PROMPT = "Write a short SEO article about the Alder Peak camping stove for hikers who like coffee."
FREE = "The Alder Peak camping stove for hikers who like coffee."
"""Nothing is asked for: it is gone on from."""
LABELS = "Is this review positive, negative or very negative? Answer with one word.\nIt leaks.\nAnswer:"
PROMPTS = (
    PROMPT, FREE, LABELS, "Write a reply.\nFrom: Anna\nSubject: Tent", "The tent", "Sentiment:", "", "zq",
    "Ein Zelt für Möwen 🏕️\n",
)  # fmt: skip
HISTORIES = MODEL.ngram.followers
SEEN = sorted(history for history in HISTORIES if len(history) == 2)
words = st.sampled_from([START, "unheard-of", " Peak", *sorted(v for v, *more in HISTORIES if not more)])
contexts = st.one_of(st.sampled_from(SEEN), st.tuples(words, words))


def ask(prompt: str = PROMPT, **fields) -> Choice:
    return MODEL.generate(CompletionRequest(model="any", prompt=prompt, **fields))


def content(choice: Choice) -> list[TokenLogProb]:
    assert choice.log_probs is not None
    assert choice.log_probs.content is not None
    return choice.log_probs.content


@given(st.text())
def test_tokens_join_to_the_text(text):
    assert "".join(tokenize(text)) == text


def test_the_sentinels_are_not_text():
    assert all(len(tokenize(sentinel)) > 1 for sentinel in (START, END))


@given(contexts, st.sampled_from(PROMPTS))
@settings(max_examples=60, deadline=None)
def test_probabilities_sum_to_one_over_the_vocabulary(context, prompt):
    distribution = MODEL.after(context, MODEL.read(prompt))
    hold_to_one(distribution)
    assert set(MODEL.unigrams.explicit) <= {token for _, token in distribution.ranked()}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_probabilities_sum_to_one_all_along_an_answer(prompt):
    for distribution, _ in replayed(prompt, content(ask(prompt, temperature=1.3, max_tokens=60, random_seed=2))):
        hold_to_one(distribution)


def replayed(prompt, tokens):
    """Each token of an answer, and the distribution it was drawn from."""
    generation = MODEL.generation(prompt)
    yield next(generation), tokens[0]
    for before, t in pairwise(tokens):
        yield generation.send(before.token), t


def hold_to_one(distribution):
    ranked = list(distribution.ranked())
    tokens = [token for _, token in ranked]
    assert len(tokens) == len(set(tokens))
    assert not any("{" in token for token in tokens), "slots are no tokens"
    assert math.fsum(p for p, _ in ranked) == pytest.approx(1, abs=1e-9)
    assert [p for p, _ in ranked] == sorted((p for p, _ in ranked), reverse=True)
    assert all(p == pytest.approx(distribution.probability(token)) for p, token in ranked)


@given(contexts, st.sampled_from(PROMPTS), st.floats(0.3, 20))
@settings(max_examples=60, deadline=None)
def test_the_mass_of_powers_is_that_of_the_whole_vocabulary(context, prompt, power):
    distribution = MODEL.after(context, MODEL.read(prompt))
    assert distribution.mass(power) == pytest.approx(math.fsum(p**power for p, _ in distribution.ranked()), rel=1e-6)


def test_interpolation_is_the_documented_formula():
    model = Model("x a b x a c")  # " a" is followed once by " b" and once by " c", "x a" by " b" alone
    bigram = (1 + 0.05 * 2 * 1 / 6) / (2 + 0.05 * 2)
    trigram = (1 + 1 * bigram) / (1 + 1)
    assert model.after(("x", " a"), model.read("")).probability(" b") == pytest.approx(trigram)
    assert model.after(("?", " a"), model.read("")).probability(" b") == pytest.approx(bigram)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("fields", [{}, {"temperature": 0.6, "top_p": 0.9}, {"temperature": 0.0}])
def test_log_probs_are_the_models_own(prompt, fields):
    for distribution, t in replayed(prompt, content(ask(prompt, **fields))):
        everything = sorted((p for p, _ in distribution.ranked()), reverse=True)
        assert t.logprob == pytest.approx(math.log(distribution.probability(t.token)))
        assert t.logprob <= 0
        assert t.bytes == list(t.token.encode())
        assert [top.logprob for top in t.top_logprobs] == pytest.approx([math.log(p) for p in everything[:5]])
        assert all(
            top.logprob == pytest.approx(math.log(distribution.probability(top.token))) for top in t.top_logprobs
        )
        assert all(top.bytes == list(top.token.encode()) for top in t.top_logprobs)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_text_is_its_tokens_and_is_not_empty(prompt):
    for seed in range(30):
        choice = ask(prompt, random_seed=seed)
        assert choice.text == "".join(t.token for t in content(choice)) != ""
        assert choice.log_probs.refusal is None


def test_temperature_0_takes_the_most_probable_token_each_time():
    choice = ask(temperature=0.0, random_seed=1)
    assert all(t.token == t.top_logprobs[0].token for t in content(choice))
    assert choice == ask(temperature=0.0, random_seed=2)


def test_a_tiny_nucleus_is_greedy():
    assert ask(top_p=1e-9, temperature=1.5) == ask(temperature=0.0)


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1.0, None), (0.7, None), (1.6, None), (1.0, 0.6), (0.7, 0.9), (2.0, 0.4)]
)
def test_tokens_are_drawn_as_often_as_temperature_and_top_p_say(temperature, top_p):
    distribution = MODEL.after((",", " and"), MODEL.read(PROMPT))
    draw = Draw.for_request(temperature, top_p)
    n = 4000
    drawn = Counter(draw.token(distribution, (i + 0.5) / n).token for i in range(n))
    assert all(abs(drawn[token] / n - p) <= 1.5 / n for token, p in reshaped(distribution, temperature, top_p).items())


def reshaped(distribution, temperature, top_p) -> dict[str, float]:
    """The textbook way, over the whole vocabulary."""
    weights = [(p ** (1 / temperature), token) for p, token in distribution.ranked()]
    total = math.fsum(w for w, _ in weights)
    before = itertools.accumulate((w / total for w, _ in weights), initial=0.0)
    nucleus = [(w, token) for (w, token), mass in zip(weights, before, strict=False) if mass < (top_p or 1.0)]
    kept = math.fsum(w for w, _ in nucleus)
    return dict.fromkeys((t for _, t in weights), 0.0) | {token: w / kept for w, token in nucleus}


def test_the_seed_decides():
    assert ask(random_seed=7) == ask(random_seed=7)
    assert ask() == ask()
    assert len({ask(random_seed=seed).text for seed in range(20)}) > 15
    assert len({ask(f"Write about number {n}.", random_seed=7).text for n in range(20)}) > 15


def test_max_tokens():
    lengths = [len(content(ask(random_seed=seed, max_tokens=12))) for seed in range(40)]
    assert max(lengths) == 12
    assert all(ask(random_seed=s, max_tokens=1).text == content(ask(random_seed=s))[0].token for s in range(5))
    assert max(len(content(ask(random_seed=seed, temperature=1.5))) for seed in range(40)) == SERVER_MAX_TOKENS


@pytest.mark.parametrize("stop", [".", [".", ","], "the", [" the ", "zzz"], "\n\n", "e a", ["a", "", "nd t"], " o"])
def test_a_text_ends_before_the_first_stop_string(stop):
    stops = [s for s in ([stop] if isinstance(stop, str) else stop) if s]
    stopped = 0
    for seed in range(40):
        free, choice = ask(random_seed=seed), ask(random_seed=seed, stop=stop)
        end = min((at for s in stops if (at := free.text.find(s)) >= 0), default=len(free.text))
        assert choice.text == free.text[:end] == "".join(t.token for t in content(choice))
        assert all(t.token and t.bytes == list(t.token.encode()) for t in content(choice))
        assert [t.logprob for t in content(choice)] == [t.logprob for t in content(free)][: len(content(choice))]
        stopped += end < len(free.text)
    assert stopped


def test_an_empty_stop_string_stops_nothing():
    assert ask(stop="") == ask(stop=[]) == ask()


def test_best_of_is_the_likeliest_of_its_candidates():
    def likelihood(choice):
        return statistics.fmean(t.logprob for t in content(choice))

    best = [likelihood(ask(random_seed=3, best_of=n)) for n in range(1, 9)]
    assert best == sorted(best)
    assert best[-1] > best[0]
    assert ask(random_seed=3, best_of=1) == ask(random_seed=3)


def test_a_prompt_is_talked_about():
    texts = " ".join(ask(random_seed=seed).text for seed in range(50))
    others = " ".join(ask("Write about a pasta machine.", random_seed=seed).text for seed in range(50))
    assert texts.count(" Alder Peak") > 5
    assert "Alder" not in others


def test_a_prompt_is_gone_on_from():
    answers = Counter(
        ask("Review: It leaks.\nSentiment: ", random_seed=seed, temperature=0.7).text for seed in range(50)
    )
    labels = [answers[label] for label in (" positive", " negative", " neutral")]
    assert min(labels) > 0
    assert sum(labels) >= 40


def test_a_long_prompt_costs_no_more():
    assert MODEL.read("word " * 200_000 + PROMPT).history == MODEL.read(PROMPT).history
    assert len(MODEL.read(" ".join(f"word{chr(97 + n % 26)}{n}" for n in range(10_000))).words) <= 8


def test_a_corpus_without_text_is_refused():
    with pytest.raises(ValueError, match="corpus"):
        Model("\n")
