"""Answers with a JSON schema are valid according to an independent validator."""

import datetime
import functools
import json
import os
import signal
import threading

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from mullama import InvalidArgumentError, InvalidGrammarError, Model

QUESTION = "What is the capital of France?"

FORMATS = FormatChecker()


@FORMATS.checks("time", raises=ValueError)
def is_time(text):
    """The validator's own check is that of an old draft."""
    return not isinstance(text, str) or datetime.time.fromisoformat(text.upper()).tzinfo is not None


@FORMATS.checks("date", raises=ValueError)
def is_date(text):
    """RFC 3339 allows the year 0000, Python does not: the calendar repeats after 400 years."""
    if not isinstance(text, str):
        return True
    year, month, day = map(int, text.split("-"))
    return bool(datetime.date(year % 400 + 400, month, day))


def an_object(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


A_TEXT = {"type": "string", "maxLength": 8}
SOME_INTEGERS = {"type": "array", "items": {"type": "integer"}, "maxItems": 3}
PERSON = {"type": "object", "properties": {"name": A_TEXT, "age": {"type": "integer"}}}

SCHEMAS = {
    "true": an_object(a=True, b={"type": "boolean"}),
    "open object": {"properties": {"a": {"type": "boolean"}}},
    "digits": an_object(phone={"type": "string", "pattern": r"^\d{3}-\d{4}$"}),
    "words": an_object(name={"type": "string", "pattern": r"^\w{2,5}\s\w{2,5}$"}),
    "slashes": an_object(path={"type": "string", "pattern": r"^\/[a-z]{1,4}\/\@$"}),
    "a pattern of no anchors": {"type": "string", "pattern": "[0-9]{2}", "maxLength": 6},
    "a backslash": an_object(s={"type": "string", "pattern": r"^\\$"}),
    "no comma": an_object(s={"type": "string", "pattern": "^[^,]{1,3}$"}),
    "one of two required": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        "additionalProperties": False,
    },
    "prefix and items": {
        "type": "array",
        "prefixItems": [{"type": "boolean"}, {"type": "null"}],
        "items": {"type": "integer"},
        "maxItems": 4,
    },
    "all of beside properties": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "allOf": [{"properties": {"b": {"type": "null"}}, "required": ["b"]}],
        "maxProperties": 3,
    },
    "bounds without a whole number": {
        "type": "number",
        "exclusiveMinimum": 3,
        "exclusiveMaximum": 3.5,
    },
    "just below zero": {"type": "number", "minimum": -0.5, "exclusiveMaximum": 0},
    "just above zero": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
    "many items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2000},
    "exclusive bounds": {"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 12},
    "bounds of numbers": {"type": "number", "minimum": -2.5, "maximum": 2.5, "multipleOf": 0.5},
    "three items": {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3},
    "recursive": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "boolean"},
                    "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]},
                },
                "required": ["value", "next"],
            }
        },
    },
    "mixed values": {"enum": ['a\n"b"', 3, None, {"format": "x"}, [1, "two"]]},
    "a constant": an_object(c={"const": 'é"\\'}),
    "a date": an_object(d={"type": "string", "format": "date"}),
    "a uuid": an_object(d={"type": "string", "format": "uuid"}),
    "a format of others": an_object(d={"type": "integer", "format": "int32"}),
    "pattern properties": {
        "type": "object",
        "patternProperties": {"^x[a-z]{1,2}$": {"type": "boolean"}},
        "additionalProperties": False,
        "maxProperties": 2,
    },
    "one of types": {"oneOf": [A_TEXT, {"type": "boolean"}, SOME_INTEGERS]},
    "one of kinds": {
        "oneOf": [
            an_object(kind={"const": "cat"}, lives={"type": "integer"}),
            an_object(kind={"const": "dog"}, name=A_TEXT),
        ]
    },
    "definitions that are combined": {
        "allOf": [{"$ref": "#/definitions/person"}, {"properties": {"job": A_TEXT}}],
        "definitions": {"person": PERSON},
        "type": "object",
        "required": ["job"],
    },
    "a list of texts": {"type": "array", "items": PERSON, "maxItems": 2},
    "values of one type": {"type": ["boolean", "null"], "enum": [1, True, None, "a", -0.5]},
    "values within bounds": {"type": "integer", "enum": [1, 2, 3], "minimum": 2},
    "choices of one type": {"type": "integer", "anyOf": [{"const": 1}, {"const": "a"}]},
    "no requirements": {
        "$schema": "https://json-schema.org/draft-07/schema",
        "type": "array",
        "items": {"type": "boolean", "not": False},
        "maxItems": 2,
        "uniqueItems": False,
        "then": False,
    },
    "a property that must not be": {
        "type": "object",
        "properties": {"a": {"not": {}}, "b": {"type": "boolean"}},
        "required": ["b"],
    },
    "properties that need others": {
        "type": "object",
        "properties": {name: {"type": "boolean"} for name in "abc"},
        "additionalProperties": False,
        "dependentRequired": {"a": ["b"], "b": ["c"]},
    },
    "names of a pattern": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z]{2}$"},
        "additionalProperties": {"type": "boolean"},
        "maxProperties": 2,
    },
    "names of a list": {
        "type": "object",
        "propertyNames": {"enum": ["x", "y"]},
        "additionalProperties": {"type": "boolean"},
    },
    "all of the properties": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}},
        "minProperties": 2,
        "unevaluatedProperties": False,
    },
    "a reference with brackets": {
        "$ref": "#/$defs/Page[int]",
        "$defs": {"Page[int]": an_object(items=SOME_INTEGERS)},
    },
    "numbers to the last digit": an_object(
        a={"const": 0.9524673882682695}, b={"const": 207593.10539663534}
    ),
    "a time": an_object(t={"type": "string", "format": "time"}),
    "a date and a pattern": an_object(
        d={"type": "string", "format": "date", "pattern": "^2023-02-(28|29)$"}
    ),
    "no quotes and backslashes": an_object(
        name={"type": "string", "pattern": r"""^[^\\/:*?"<>|]{1,8}$"""},
        control={"type": "string", "pattern": r"^[\x00-\x1f]$"},
    ),
}


# A schema that refers to its root, and therefore cannot be part of another one.
ROOTED = {
    "itself": {
        "type": "object",
        "properties": {"value": {"type": "boolean"}, "next": {"$ref": "#"}},
        "required": ["value"],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("name", SCHEMAS | ROOTED)
def test_answers_follow_the_schema(demo, name):
    assert_answers_follow(demo, (SCHEMAS | ROOTED)[name], max_tokens=150)


def assert_answers_follow(model, schema, max_tokens, read=json.loads):
    validator = Draft202012Validator(schema, format_checker=FORMATS)
    whole = 0
    for seed in range(12):
        answer = model.generate(
            QUESTION, json_schema=schema, seed=seed, temperature=1.5, max_tokens=max_tokens
        )
        if answer.finish_reason == "stop":
            whole += 1
            validator.validate(read(answer.text))
    assert whole > 0, "no answer was whole"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"if": {"type": "string"}, "then": {"minLength": 1}}, "if"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "array", "minItems": 5, "maxItems": 2}, "minItems"),
        ({"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 10}, "no whole number"),
        ({"type": "string", "pattern": "(?=a)b"}, "(?=a)b"),
        ({"type": "string", "pattern": r"\bword\b"}, r"\b"),
        (an_object(a={"type": "string", "pattern": r"^a\B"}), r"\B"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"$ref": "#"}, "#: no text"),
        (False, "allows nothing"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-20}, "too close"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 5e-324}, "too close"),
        (
            {"minProperties": 2, "patternProperties": {"^[ab]$": {"const": 1}}},
            "#: `minProperties` 2",
        ),
        (an_object(a={"type": "object", "minProperties": 2}), "#/properties/a: `minProperties` 2"),
        (an_object(a={"type": "array", "minItems": -3}), "#/properties/a: `minItems`"),
        (an_object(a={"type": "string", "minLength": 2**40}), "#/properties/a: `minLength`"),
        (an_object(a={"multipleOf": -2}), "#/properties/a: `multipleOf`"),
        (an_object(a={"type": "text"}), "#/properties/a: `type`"),
        (an_object(a=an_object(b={"pattern": "a{5,2}"})), "#/properties/a/properties/b: "),
        ({"items": {"anyOf": [{}, {"not": {"type": "null"}}]}}, "#/items/anyOf/1: "),
        ({"items": {"multipleOf": 0.07}}, "#/items: `multipleOf` 0.07"),
        ({"$ref": "http://example.org/x"}, "leads out of the schema, to http://example.org/x"),
        ({"$ref": "#/$defs/x", "$defs": {"x": an_object(a={"uniqueItems": True})}}, "#/$defs/x"),
        (an_object(a={"type": "array", "minItems": 5, "maxItems": 2}), "#/properties/a: "),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "#: no text matches it"),
        (an_object(a={"$ref": "#"}), "#: no text matches it"),
        ({"anyOf": [an_object(a={"$ref": "#"}), an_object(b={"$ref": "#"})]}, "no text matches it"),
    ],
)
def test_unsupported_schema_keywords_are_named(demo, schema, said):
    with pytest.raises(InvalidGrammarError) as generated:
        demo.generate(QUESTION, json_schema=schema)
    assert said in str(generated.value)
    with pytest.raises(InvalidGrammarError) as answered:
        demo.chat([{"role": "user", "content": QUESTION}], json_schema=schema)
    assert str(answered.value) == str(generated.value)


@pytest.mark.parametrize(
    "pattern", ["^[^,]{1,3}$", r"^\\$", r"^\\{2}$", '^"?$', r"^[^\\]{2}$", '^[^"]{2}$']
)
@pytest.mark.parametrize("character", ['"', "\\"])
def test_logit_bias_does_not_break_patterns(demo, pattern, character):
    (biased,) = demo.tokenize(character, add_special=False)[-1:]
    schema = an_object(s={"type": "string", "pattern": pattern})
    for seed in range(8):
        answer = demo.generate(
            QUESTION, json_schema=schema, logit_bias={biased: 30}, seed=seed, max_tokens=80
        )
        assert answer.finish_reason == "stop"
        Draft202012Validator(schema).validate(json.loads(answer.text))


def test_continued_answers_follow_the_schema(demo):
    schema = an_object(name=A_TEXT)
    for begun in ("{", '{"na', '{"name": "A'):
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": begun}]
        answer = demo.chat(
            messages, json_schema=schema, continue_final_message=True, max_tokens=80, seed=1
        )
        Draft202012Validator(schema).validate(json.loads(begun + answer.text))
    messages[-1]["content"] = "Hello"
    for options in ({"json_schema": schema}, {"response_format": {"type": "json_object"}}):
        with pytest.raises(InvalidArgumentError, match="beginning of the answer"):
            demo.chat(messages, continue_final_message=True, **options)


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"type": "boolean"}},
            "patternProperties": {"^b[0-9]$": {"type": "null"}},
            "additionalProperties": False,
            "minProperties": 2,
            "maxProperties": 2,
        },
        # One of the choices would never end.
        {
            "anyOf": [
                {"type": "array", "items": {"$ref": "#/anyOf/0"}, "minItems": 1},
                {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
            ]
        },
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1.0, "maxItems": 2**40},
        {"type": "string", "maxLength": 2**63},
    ],
)
def test_supported_limits_are_enforced(demo, schema):
    read = functools.partial(json.loads, object_pairs_hook=check_names)
    assert_answers_follow(demo, schema, max_tokens=80, read=read)


def check_names(pairs):
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), names
    return dict(pairs)


def test_names_are_not_written_with_escapes(demo):
    """Otherwise `"\\u0061"` would be another property with the name `a`."""
    schema = an_object(a={"type": "integer"}) | {"additionalProperties": {"type": "string"}}
    messages = [{"role": "user", "content": "Hi"}]
    for begun, is_allowed in [('"b": "x"', True), ('"\\u0061": "x"', False), ('"a": 1', False)]:
        start = {"role": "assistant", "content": '{"a": 1, ' + begun}
        options = {"json_schema": schema, "continue_final_message": True, "max_tokens": 3}
        if is_allowed:
            demo.chat([*messages, start], **options)
        else:
            with pytest.raises(InvalidArgumentError, match="beginning of the answer"):
                demo.chat([*messages, start], **options)


def test_schemas_that_are_nested_too_deeply_are_one_kind_of_error(demo):
    deep = {}
    for _ in range(110):
        deep = {"items": deep}
    chain = {f"d{i}": {"items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(4000)}
    messages = [{"role": "user", "content": QUESTION}]
    for schema in (deep, json.dumps(deep), {"$ref": "#/$defs/d0", "$defs": chain | {"d4000": {}}}):
        with pytest.raises(InvalidArgumentError, match="nested too deeply") as generated:
            demo.generate(QUESTION, json_schema=schema)
        with pytest.raises(InvalidArgumentError) as answered:
            demo.chat(messages, json_schema=schema)
        assert str(answered.value) == str(generated.value)


LARGE = {
    "grammar": 'root ::= "' + "b" * 4_000_000 + '"',
    "json_schema": {"enum": list(range(400_000))},
    "regex": "|".join(f"a{i}" for i in range(150_000)),
    "lark": 'start: "' + "b" * 1_000_000 + '"',
}


@pytest.mark.parametrize("name", LARGE)
def test_compiling_ends_with_the_timeout_and_an_interrupt(name):
    """Large grammars take seconds, and are compiled in the background."""
    with Model("demo", n_gpu_layers=0, n_threads=1) as model:
        try:
            late = model.generate(QUESTION, timeout=0.01, max_tokens=1, **{name: LARGE[name]})
            assert late.finish_reason == "cancelled"
            assert late.text == ""
        except InvalidGrammarError:
            pytest.skip("it is refused sooner")
        interrupt = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        with pytest.raises((KeyboardInterrupt, InvalidGrammarError)):
            while True:
                model.generate(QUESTION, max_tokens=1, **{name: LARGE[name]})
        interrupt.join()
        # Other requests of the model continue.
        assert model.generate(QUESTION, max_tokens=1).usage.completion_tokens == 1


def test_schemas_cause_no_output_to_stderr(python):
    script = r"""
import mullama

model = mullama.Model("demo", n_threads=1)
for schema in (
    {"type": "string", "pattern": r"^\d\w\s\/\@$"},
    {"type": "string", "pattern": r"\bx"},
    {"type": "string", "pattern": "(?=a)b"},
    {"type": "string", "pattern": "[0-9]", "maxLength": 3, "title": "t", "x-unknown": 1},
    {"not": {}},
):
    try:
        model.generate("x", json_schema=schema, max_tokens=20)
    except mullama.InvalidGrammarError:
        pass
print("done")
"""
    done = python(script, env={**os.environ, "MULLAMA_LOG": "off"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
