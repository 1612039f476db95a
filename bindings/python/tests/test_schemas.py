"""Answers with a JSON schema are valid according to an independent validator."""

import json

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from mullama import InvalidArgumentError, InvalidGrammarError

QUESTION = "What is the capital of France?"


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
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_answers_follow_the_schema(demo, name):
    schema = SCHEMAS[name]
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    whole = 0
    for seed in range(12):
        answer = demo.generate(
            QUESTION, json_schema=schema, seed=seed, temperature=1.5, max_tokens=150
        )
        if answer.finish_reason == "stop":
            whole += 1
            validator.validate(json.loads(answer.text))
    assert whole > 0, "no answer was whole"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"if": {"type": "string"}, "then": {"minLength": 1}}, "if"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "array", "minItems": 5, "maxItems": 2}, "minItems"),
        ({"type": "string", "pattern": "(?=a)b"}, "(?=a)b"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"$ref": "#"}, "no text"),
        (False, "allows nothing"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(demo, schema, said):
    with pytest.raises(InvalidGrammarError) as generated:
        demo.generate(QUESTION, json_schema=schema)
    assert said in str(generated.value)
    with pytest.raises(InvalidGrammarError) as answered:
        demo.chat([{"role": "user", "content": QUESTION}], json_schema=schema)
    assert str(answered.value) == str(generated.value)


def test_a_bias_does_not_break_a_text_open(demo):
    (quote,) = demo.tokenize('"', add_special=False)[-1:]
    schema = an_object(s={"type": "string", "pattern": "^[^,]{1,3}$"})
    for seed in range(8):
        answer = demo.generate(
            QUESTION, json_schema=schema, logit_bias={quote: 30}, seed=seed, max_tokens=80
        )
        assert answer.finish_reason == "stop"
        Draft202012Validator(schema).validate(json.loads(answer.text))


def test_answers_that_were_begun_go_on_by_the_schema(demo):
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
