"""JSON by a schema: whatever schema of the kept kind it is, the answer is what jsonschema-rs allows; all else is refused."""

import json
import math
import re

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.simulator import response_format
from batchgen.simulator.draw import Draw
from batchgen.simulator.json_writer import JsonWriter
from batchgen.simulator.model import Sampling, generate, load
from batchgen.simulator.schema import UnsupportedSchemaError

MODEL = load()
PROMPT = 'Product: Knitted hat "Fjäll"\nCategory: Clothing\nPrice: 29.90 EUR\nFeatures: lambswool, double brim\nGreat hat, it fits well.'
LONG = 6000


def written(schema, prompt=PROMPT, seed="1", temperature=1.0, max_tokens=LONG):
    guide = response_format.read({"type": "json_schema", "json_schema": schema}, prompt)
    sampling = Sampling(draw=Draw.for_request(temperature, None), max_tokens=max_tokens)
    return generate(JsonWriter(MODEL, prompt, guide.schema).generation, sampling, seed)


NAMES = st.sampled_from(["title", "summary", "tags", "sentiment", "price", "stars", "name", 'a"b', "é 🏕️", "", "x/y~z"])
BOUNDS = st.integers(-50, 50)


def bounded(low: str, high: str, numbers):
    """Two bounds, either of which may be missing, in order: there is an even number between them."""
    pairs = st.tuples(numbers, st.integers(3, 40))
    both = pairs.map(lambda pair: {low: pair[0], high: pair[0] + pair[1]})
    return st.one_of(st.just({}), both, numbers.map(lambda n: {low: n}), numbers.map(lambda n: {high: n}))


def sized(low: str, high: str, largest: int):
    return bounded(low, high, st.integers(0, largest))


STRINGS = st.one_of(
    sized("minLength", "maxLength", 60).map(lambda bounds: {"type": "string", **bounds}),
    st.sampled_from(["date", "date-time", "time", "email", "uri", "uuid"]).map(lambda f: {"type": "string", "format": f}),
)  # fmt: skip
STEPS = st.sampled_from([{}, {}, {"multipleOf": 1}, {"multipleOf": 0.5}, {"multipleOf": 2}])
NUMBERS = st.builds(
    lambda kind, bounds, step: {"type": kind, **bounds, **step},
    st.sampled_from(["integer", "number"]),
    st.one_of(bounded("minimum", "maximum", BOUNDS), bounded("exclusiveMinimum", "exclusiveMaximum", BOUNDS)),
    STEPS,
)
CHOICES = st.one_of(
    st.lists(st.one_of(st.text(max_size=8), st.integers(), st.booleans(), st.none()), min_size=1, max_size=5).map(
        lambda values: {"enum": values}
    ),
    st.sampled_from([{"const": {"a": [1, None]}}, {"const": "é\n"}, {"type": "boolean"}, {"type": "null"}]),
)
LEAVES = st.one_of(
    STRINGS, NUMBERS, CHOICES, st.just({"type": ["string", "null"], "maxLength": 30}), st.just({"maxLength": 9})
)


def larger(schemas):
    arrays = st.builds(
        lambda item, size: {"type": "array", "items": item, **size}, schemas, sized("minItems", "maxItems", 3)
    )
    properties = st.dictionaries(NAMES, schemas, max_size=4)
    objects = properties.flatmap(
        lambda found: st.builds(
            lambda required, more: {"type": "object", "properties": found, "required": required, **more},
            st.lists(st.sampled_from(sorted(found)), unique=True) if found else st.just([]),
            st.sampled_from([{}, {"additionalProperties": False}]),
        )
    )
    unions = st.lists(schemas, min_size=1, max_size=3).map(lambda options: {"anyOf": options})
    merged = objects.map(
        lambda one: (
            {"allOf": [one, {"type": "object", "title": "T", "required": ["also"]}]}
            if one.get("additionalProperties", True)
            else one
        )
    )
    referenced = schemas.map(lambda one: {"allOf": [{"description": "d"}, one]})
    return st.one_of(arrays, objects, unions, merged, referenced)


SCHEMAS = st.recursive(LEAVES, larger, max_leaves=8)


@given(SCHEMAS, st.sampled_from([PROMPT, "", "Write about tea."]), st.sampled_from([0, 0.7, 1, 2]))
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_what_the_schema_allows(schema, prompt, temperature):
    answer = written(schema, prompt, temperature=temperature)
    assert not answer.is_cut
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(json.loads(answer.text))
    assert answer.text == written(schema, prompt, temperature=temperature).text


@given(SCHEMAS, st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_log_probs_are_those_of_what_it_was_drawn_from(schema, seed):
    guide = response_format.read({"type": "json_schema", "json_schema": schema}, PROMPT)
    generation = JsonWriter(MODEL, PROMPT, guide.schema).generation()
    distribution = next(generation)
    for t in written(schema, seed=str(seed), max_tokens=60).content:
        ranked = list(distribution.ranked())
        assert math.fsum(p for p, _ in ranked) == pytest.approx(1, abs=1e-9)
        assert t.logprob == pytest.approx(math.log(distribution.probability(t.token)))
        try:
            distribution = generation.send(t.token)
        except StopIteration:
            break


TREE = {
    "$defs": {"node": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
                                                        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                       "required": ["name", "children"]}},
    "$ref": "#/$defs/node",
}  # fmt: skip


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(TREE, id="a tree"),
        pytest.param({"oneOf": [{"type": "string", "maxLength": 5}, {"type": "integer"}]}, id="oneOf"),
        pytest.param(
            {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "maxItems": 9}, id="unique items"
        ),
        pytest.param({"allOf": [{"minimum": 3}, {"maximum": 4}], "type": "number"}, id="allOf"),
        pytest.param(
            {"type": "object", "required": ["a"], "additionalProperties": {"type": "integer"}}, id="additional"
        ),
        pytest.param(
            {"type": "number", "minimum": 0.25, "maximum": 0.26, "exclusiveMaximum": 0.26}, id="a narrow range"
        ),
        pytest.param({"type": "number", "minimum": 0.1, "maximum": 0.3, "multipleOf": 0.1}, id="tenths"),
        pytest.param({"type": "string", "minLength": 300, "maxLength": 300}, id="a length"),
        pytest.param({"type": "string", "minLength": 2, "maxLength": 2}, id="two letters"),
        pytest.param({}, id="anything"),
        pytest.param(True, id="true"),
    ],
)
def test_schemas_of_other_kinds_are_kept_to(schema):
    for seed in range(20):
        answer = written(
            schema if schema is not True else {"properties": {"x": True}, "required": ["x"]}, seed=str(seed)
        )
        assert jsonschema_rs.validator_for(schema).is_valid(json.loads(answer.text)), answer.text


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}, "/properties/a: the built-in server cannot keep to pattern"),
        ({"items": {"format": "ipv4"}}, "/items: the built-in server writes no format ipv4"),
        ({"not": {}}, "cannot keep to not"),
        ({"type": "strin"}, "no JSON Schema"),
        ({"$ref": "http://127.0.0.1/x"}, "http://127.0.0.1/x"),
        ({"$ref": "#/$defs/none"}, "none"),
        ({"$ref": "#"}, "without an end"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "no value of it ever comes to its end"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "/properties/a"),
        ({"allOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, "two multipleOf"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_to_is_refused_with_where_and_why(schema, told):
    with pytest.raises(UnsupportedSchemaError, match=re.escape(told)):
        written(schema)


@pytest.mark.parametrize(
    "schema", [{"minimum": 5, "maximum": 3}, {"enum": [1], "type": "string"}, {"enum": ["a"], "minLength": 3}]
)
def test_what_turns_out_to_be_impossible_is_refused(schema):
    with pytest.raises(UnsupportedSchemaError, match="no value that is allowed"):
        written(schema)


def test_values_are_the_prompts():
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in ("name", "category", "title")}}
    schema["properties"] |= {"price": {"type": "number"}, "sentiment": {"enum": ["negative", "positive"]}}
    schema["properties"] |= {"tags": {"type": "array", "items": {"type": "string"}, "minItems": 3}}
    found = json.loads(written({**schema, "required": list(schema["properties"])}, temperature=0).text)
    assert (found["name"], found["category"], found["price"]) == ('Knitted hat "Fjäll"', "clothing", 29.9)
    assert 'Knitted hat "Fjäll"' in found["title"]
    assert found["sentiment"] == "positive"
    assert {"clothing", "lambswool", "double brim"} & set(found["tags"])


@pytest.mark.parametrize(
    ("given", "prompt", "names"),
    [
        ({"type": "json_object"}, 'Answer with "title" and `colour`.', ["title", "colour"]),
        ({"type": "json_object"}, "JSON, please: summary and tags", ["summary", "tags"]),
        ({"type": "json_object"}, "JSON, please", ["text"]),
    ],
)
def test_an_object_without_a_schema_has_the_keys_that_the_prompt_names(given, prompt, names):
    assert list(response_format.read(given, prompt).schema["properties"]) == names


def test_a_schema_stands_bare_or_named():
    bare = {"type": "boolean"}
    for stands in (bare, {"name": "b", "schema": bare}, {"name": "b", "schema": bare, "strict": True}):
        assert response_format.read({"type": "json_schema", "json_schema": stands}, "").schema == bare
    assert response_format.read({"type": "text"}, "") is None


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "text", "more": 1},
        {"type": "json_schema", "json_schema": 1},
    ],
)
def test_another_format_is_refused(given):
    with pytest.raises(UnsupportedSchemaError, match="json_object"):
        response_format.read(given, "")
