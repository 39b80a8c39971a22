"""OpenApi: what openapi.yaml says of routes and answers; as much of JSON Schema as it uses."""

import json
import re

import yaml

_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}


class OpenApi:
    def __init__(self, text):
        self.document = yaml.safe_load(text)

    def routes(self):
        """{(method, pattern): scope, None for those that need no token}"""
        return {
            (method.upper(), pattern): operation.get("x-scope")
            for pattern, methods in self.document["paths"].items()
            for method, operation in methods.items()
        }

    def body(self, method, pattern):
        """The schema of what is sent there; None where nothing is."""
        operation = self.document["paths"][pattern][method.lower()]
        if "requestBody" not in operation:
            return None
        ((_, content),) = self.resolve(operation["requestBody"])["content"].items()
        return self.resolve(content["schema"])

    def parameters(self, method, pattern):
        operation = self.document["paths"][pattern][method.lower()]
        return [self.resolve(parameter) for parameter in operation.get("parameters", [])]

    def check(self, method, pattern, status, headers, body):
        """Asserts that the contract has this answer; returns its document."""
        operation = self.document["paths"][pattern][method.lower()]
        answers = operation["responses"]
        where = f"{method} {pattern} {status}"
        assert str(status) in answers or "default" in answers, f"{where}: not in the contract"
        answer = self.resolve(answers.get(str(status), answers.get("default")))
        if "content" not in answer:
            return body
        ((media_type, content),) = answer["content"].items()
        assert headers["Content-Type"] == media_type, f"{where}: {headers['Content-Type']}"
        if media_type == "text/event-stream":
            event, data = re.search(r"^event: (.*)\ndata: (.*)$", body.decode(), re.MULTILINE).groups()
            if event in ("reset", "removed"):
                return json.loads(data)
            body = data
        document = json.loads(body)
        problems = list(self._problems(content["schema"], document, where))
        assert not problems, problems
        return document

    def resolve(self, node):
        while "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def _problems(self, schema, value, where):
        schema = self.resolve(schema)
        if value is None:
            if not schema.get("nullable"):
                yield f"{where}: null"
            return
        kind = schema.get("type")
        if kind == "integer":
            if not isinstance(value, int) or isinstance(value, bool):
                yield f"{where}: {value!r} is no integer"
        elif kind and not isinstance(value, _TYPES[kind]):
            yield f"{where}: {value!r} is no {kind}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r} is none of {schema['enum']}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where}: {value!r} is not as {schema['pattern']}"
        if kind == "array":
            for number, entry in enumerate(value):
                yield from self._problems(schema["items"], entry, f"{where}[{number}]")
        if kind == "object":
            yield from self._object_problems(schema, value, where)

    def _object_problems(self, schema, value, where):
        properties = schema.get("properties", {})
        for name in schema.get("required", []):
            if name not in value:
                yield f"{where}: {name} is missing"
        others = schema.get("additionalProperties", True)
        for name, entry in value.items():
            if name in properties:
                yield from self._problems(properties[name], entry, f"{where}.{name}")
            elif others is False:
                yield f"{where}: {name} is not in the contract"
            elif isinstance(others, dict):
                yield from self._problems(others, entry, f"{where}.{name}")
