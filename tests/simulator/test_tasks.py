"""What the built-in model answers to prompts that ask for something it knows: an article, a reply, one of some labels."""

import re
from pathlib import Path

import polars as pl
import pytest

from batchgen.api.types import CompletionRequest
from batchgen.simulator import facts
from batchgen.simulator.model import load

ROOT = Path(__file__).parents[2]
MODEL = load()


def ask(prompt: str, **fields) -> str:
    return MODEL.generate(CompletionRequest(model="any", prompt=prompt, **{"max_tokens": 300, **fields})).text


def article_prompt(product: dict) -> str:
    return (
        f"Write a short SEO article about the product below for {product['audience'] or 'everyone'}.\n"
        f"Use only the facts given.\n\nProduct: {product['name']}\nCategory: {product['category']}\n"
        f"Price: {product['price']} EUR\nFeatures: {product['features']}\n\nArticle:"
    )


PRODUCTS = pl.read_csv(ROOT / "sample_data" / "products.csv", infer_schema=False).to_dicts()


def test_an_article_is_an_article_about_the_product():
    sampling = {"temperature": 0.7, "top_p": 0.9, "random_seed": 42}
    articles = [ask(article_prompt(product), **sampling) for product in PRODUCTS]
    assert len(set(articles)) == len(PRODUCTS) > 300
    for product, article in zip(PRODUCTS, articles, strict=True):
        assert product["name"].strip(" .") in article
        assert product["price"] in article
        assert re.split("[,;\n] ?", product["features"])[0].strip() in article
        assert len(re.findall(r"[.?!](?=\s|$)", article)) >= 5
        assert article[0].strip()
        assert article.endswith(".")


def test_a_reply_names_the_customer_and_what_it_is_about():
    reply = ask(
        "Write a friendly reply.\n\nFrom: Anna Lindqvist\nSubject: Tent pole snapped\n\nHello,\n\nReply:", top_p=0.9
    )
    assert "Anna Lindqvist,\n\n" in reply
    assert '"Tent pole snapped"' in reply
    assert reply.endswith("support team.")


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("Is this review positive, negative or neutral?\nAnswer with exactly one word.", ["positive", "negative", "neutral"]),
        ("Answer with exactly one word: positive, negative or neutral.\nGreat!", ["positive", "negative", "neutral"]),
        ("Classify the sentiment (positive/negative/mixed) of this text.", ["positive", "negative", "mixed"]),
        ("Choose one of spam, ham.", []),
        ("Answer yes or no: is it blue?", ["yes", "no"]),
        ("Respond with true or false.", ["true", "false"]),
        ("Write an article about salt or pepper.", []),
        ("Write a reply in German or English.", []),
    ],
)  # fmt: skip
def test_labels_are_the_prompts_own(prompt, labels):
    assert facts.labels(prompt) == labels
    if labels:
        assert {ask(prompt, random_seed=seed, top_p=0.95) for seed in range(30)} <= set(labels)


@pytest.mark.parametrize(
    ("review", "label"),
    [("Great lamp, works well. Recommend it.", "positive"), ("Broken after a week, waste of money.", "negative")],
)
def test_a_plain_review_gets_its_label(review, label):
    assert ask(f"One word, positive or negative.\nReview: {review}\nAnswer:", temperature=0) == label


@pytest.mark.parametrize(
    ("prompt", "task"),
    [
        ("Write about the tent.", "article"),
        ("Create a product description.", "article"),
        ("Write a title for this article.", "title"),
        ("Summarise the article.", "summary"),
        ("You answer e-mails.\nWrite a reply about the article.", "reply"),
        ("The tent", None),
        ("Sentiment:", None),
        ("", None),
    ],
)
def test_a_task_is_what_is_asked_for_first(prompt, task):
    assert facts.task(prompt) == task


@pytest.mark.parametrize(
    ("prompt", "values"),
    [
        ("Write about the Alder Peak for hikers who cook.", {"name": "Alder Peak", "audience": "hikers who cook"}),
        ('Product: Hat "Fjäll"\nCategory: Clothing.', {"name": 'Hat "Fjäll"', "category": "clothing"}),
        ("- features : a, b; c\n", {"features": "a, b and c", "feature": "a", "detail": "c"}),
        ("Product: \nFeatures: ,\nPrice: .", facts.DEFAULTS | {"features": "quality"}),
        ("Product: first\nProduct: second", {"name": "first"}),
    ],
)
def test_facts_are_read_by_their_labels(prompt, values):
    found = facts.Facts(prompt)
    assert {slot: found.value(slot) for slot in values} == values


def test_so_many_sentences_as_are_asked_for():
    for count, words in enumerate(("one sentence", "two sentences", "three sentences"), 1):
        text = ask(f"Write {words} about tea.", top_p=0.9)
        assert text.count(".") == count
    assert facts.sentences("Write about tea.") is None


def test_the_sentences_of_every_stage_end_where_they_should():
    """Else an answer would go on to the next stage in the middle of one, or never."""
    for task, stages in MODEL.tasks.items():
        for stage in stages[:-1]:
            assert stage.ends, task
    lines = (ROOT / "batchgen" / "simulator" / "tasks.txt").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line[0] not in "=-" and len(re.findall(r"[.?!]", line)) > 1]
