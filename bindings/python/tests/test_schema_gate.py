"""Two hundred schemas that use every keyword that is enforced, with answers of random draws."""

import json
import random

import pytest
from jsonschema import Draft202012Validator
from mullama import Model
from test_schemas import FORMATS

FORMAT_NAMES = ["date-time", "time", "date", "duration", "email", "ipv4", "ipv6", "uuid", "uri"]
PATTERNS = ["^[a-z]{2,4}$", r"^\d{1,3}-\d{2}$", "^(red|green)$", '^[^,"]{1,3}$']
NAMES = ["a", "b", "name", "x y", "\u00e9", 'q"']


class Schemas:
    """Makes schemas; the same ones for the same seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def make(self, depth):
        forms = [self.text, self.number, self.listed]
        if depth:
            forms += [self.object, self.object, self.array, self.combined, self.referred]
        return self.random.choice(forms)(depth - 1)

    def maybe(self, schema, **keywords):
        for name, value in keywords.items():
            if self.random.random() < 0.5:
                schema[name] = value
        return schema

    def text(self, _):
        form = self.random.randrange(4)
        if form == 0:
            return {"type": "string", "pattern": self.random.choice(PATTERNS)}
        if form == 1:
            return {"type": "string", "format": self.random.choice(FORMAT_NAMES)}
        least = self.random.randrange(3)
        return {"type": "string", "minLength": least, "maxLength": least + self.random.randrange(6)}

    def number(self, _):
        low = self.random.randrange(-1000, 1000)
        high = low + self.random.randrange(5, 500)
        if self.random.random() < 0.3:
            schema = {"exclusiveMinimum": low, "exclusiveMaximum": high}
        else:
            schema = {"minimum": low, "maximum": high}
        if self.random.random() < 0.4:
            self.maybe(schema, multipleOf=self.random.choice([1, 2, 5]))
            return {"type": "integer", **schema}
        self.maybe(schema, multipleOf=self.random.choice([0.5, 0.25]))
        return {"type": "number", **schema}

    def listed(self, _):
        return self.random.choice(
            [
                {"enum": self.random.sample([1, "a", None, True, 2.5, [1, 2], {"a": "b"}], 3)},
                {"const": self.random.choice([7, '\u00e9"\\', False, {"k": [None]}])},
                {"type": "boolean"},
                {"type": "null"},
                {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
            ]
        )

    def object(self, depth):
        names = self.random.sample(NAMES, self.random.randrange(1, 5))
        schema = {"type": "object", "properties": {name: self.make(depth) for name in names}}
        schema["required"] = [name for name in names if self.random.random() < 0.6]
        form = self.random.randrange(4)
        if form == 0:
            schema["additionalProperties"] = False
        elif form < 3:
            # Properties can be counted if none of the listed ones may be missing.
            schema |= {"required": names, "maxProperties": len(names) + 1}
            if form == 1:
                schema["patternProperties"] = {"^p[0-9]$": self.make(0)}
                schema["additionalProperties"] = False
            else:
                schema["additionalProperties"] = {"type": "integer"}
                schema["minProperties"] = len(names)
        return schema

    def array(self, depth):
        least = self.random.randrange(3)
        schema = {"type": "array", "items": self.make(depth)}
        schema["maxItems"] = least + self.random.randrange(1, 3)
        self.maybe(schema, minItems=least)
        if self.random.random() < 0.3:
            schema["prefixItems"] = [self.make(0)]
        return schema

    def combined(self, depth):
        form = self.random.randrange(3)
        if form == 0:
            return {"anyOf": [self.make(depth), self.make(depth)]}
        if form == 1:
            return {"oneOf": [self.text(0), self.number(0), self.array(0)]}
        low = self.random.randrange(100)
        return {"allOf": [{"type": "integer", "minimum": low}, {"maximum": low + 50}]}

    def referred(self, _):
        return {"$ref": self.random.choice(["#/$defs/short", "#/$defs/tree"])}


def the_schema(seed):
    schemas = Schemas(seed)
    schema = schemas.make(3)
    tree = {"type": "object", "required": ["v"], "additionalProperties": False}
    tree["properties"] = {"v": schemas.make(0), "next": {"$ref": "#/$defs/tree"}}
    return schema | {"$defs": {"short": {"type": "string", "maxLength": 3}, "tree": tree}}


@pytest.fixture(scope="module", params=["demo", "tiny"])
def model(request, testkit):
    source = request.param if request.param == "demo" else testkit("path", request.param).strip()
    with Model(source, n_threads=1, context_size=512) as model:
        yield model


def test_answers_of_random_draws_follow_their_schemas(model):
    whole = 0
    for seed in range(200):
        schema = the_schema(seed)
        options = {"json_schema": schema, "max_tokens": 300, "temperature": 1.2, "seed": seed}
        answer = model.generate("An example: ", **options)
        if answer.finish_reason != "stop":
            continue
        whole += 1
        value = json.loads(answer.text)
        problems = list(Draft202012Validator(schema, format_checker=FORMATS).iter_errors(value))
        assert not problems, f"{value} of {schema}: {problems[0].message}"
    assert whole >= 140
