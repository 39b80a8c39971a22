"""Exposition: a strict reader of Prometheus' text format 0.0.4, which refuses what a lenient scraper forgives."""

import dataclasses
import re

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
_VALUE = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|Inf)|NaN")
_HELP = re.compile(r"(?:[^\\]|\\[\\n])*")
_KINDS = {"counter", "gauge", "histogram", "summary", "untyped"}
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Malformed(ValueError):
    pass


@dataclasses.dataclass
class Family:
    name: str
    help: str | None = None
    kind: str | None = None
    samples: dict = dataclasses.field(default_factory=dict)  # (name, ((label, value), …)) → float

    def value(self, **labels):
        """The one sample with exactly these labels."""
        return self.samples[(self.name, tuple(sorted(labels.items())))]


def _labels(text, line):
    """{…} of a sample as sorted pairs, and what follows it."""
    if not text.startswith("{"):
        return (), text
    pairs, at = {}, 1
    while text[at : at + 1] != "}":
        match = _LABEL.match(text, at)
        if not match:
            raise Malformed(f"labels: {line!r}")
        name, value = match.groups()
        if name in pairs or name.startswith("__"):
            raise Malformed(f"label {name} twice or reserved: {line!r}")
        pairs[name] = re.sub(r'\\[\\"n]', lambda m: _ESCAPES[m.group()], value)
        at = match.end()
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] != "}":
            raise Malformed(f"labels: {line!r}")
    return tuple(sorted(pairs.items())), text[at + 1 :]


def _sample(line):
    match = _NAME.match(line)
    if not match:
        raise Malformed(f"no metric name: {line!r}")
    labels, rest = _labels(line[match.end() :], line)
    if not rest.startswith(" ") or not _VALUE.fullmatch(rest[1:]):
        raise Malformed(f"value: {line!r}")
    return match.group(), labels, float(rest[1:])


def _comment(line, families):
    """# HELP and # TYPE; the family, which may come only once."""
    words = line.split(" ", 3)
    if len(words) < 3 or words[0] != "#" or words[1] not in ("HELP", "TYPE") or not _NAME.fullmatch(words[2]):
        raise Malformed(f"comment: {line!r}")
    what, name = words[1], words[2]
    text = words[3] if len(words) == 4 else ""
    last = list(families)[-1] if families else None
    if name in families and name != last:
        raise Malformed(f"family {name} in two places: {line!r}")
    family = families.setdefault(name, Family(name))
    if family.samples or (family.help if what == "HELP" else family.kind) is not None:
        raise Malformed(f"{what} twice, or after a sample: {line!r}")
    if what == "HELP":
        if not text.strip() or not _HELP.fullmatch(text):
            raise Malformed(f"help: {line!r}")
        family.help = text
    else:
        if text not in _KINDS:
            raise Malformed(f"type: {line!r}")
        family.kind = text


def _check_names(family):
    if family.help is None or family.kind is None or not family.samples:
        raise Malformed(f"{family.name}: HELP, TYPE or samples are missing")
    # What a histogram named …_total would add, a counter without it would hide.
    if (family.kind == "counter") != family.name.endswith("_total"):
        raise Malformed(f"{family.name} is a {family.kind}: counters, and only they, end in _total")
    for (name, labels), value in family.samples.items():
        if family.kind == "counter" and not value >= 0:
            raise Malformed(f"{name}{labels} = {value}: a counter below zero")


def _check_histogram(family):
    series = {}
    for (name, labels), value in family.samples.items():
        rest = tuple(pair for pair in labels if pair[0] != "le")
        bounds = [float(bound) for label, bound in labels if label == "le"]
        if (name == family.name + "_bucket") != bool(bounds):
            raise Malformed(f"{name}{labels}: le belongs to buckets")
        parts = series.setdefault(rest, {"buckets": []})
        if bounds:
            parts["buckets"].append((bounds[0], value))
        else:
            parts[name.removeprefix(family.name)] = value
    for labels, parts in series.items():
        buckets = parts["buckets"]
        ascending = buckets == sorted(set(buckets)) and [v for _, v in buckets] == sorted(v for _, v in buckets)
        complete = buckets and buckets[-1] == (float("inf"), parts.get("_count")) and "_sum" in parts
        if not ascending or not complete:
            raise Malformed(f"{family.name}{labels}: buckets {parts}")


def parse(text):
    """{name: Family}; Malformed where the text breaks the format or its conventions."""
    if not text.endswith("\n") or "\r" in text:
        raise Malformed("lines end in \\n, the last one too")
    families = {}
    for line in text[:-1].split("\n"):
        if line.startswith("#"):
            _comment(line, families)
            continue
        name, labels, value = _sample(line)
        family = list(families.values())[-1] if families else None
        suffixes = _SUFFIXES.get(family.kind, ("",)) if family else ()
        if name not in [family.name + suffix for suffix in suffixes] if family else True:
            raise Malformed(f"sample outside its family: {line!r}")
        if (name, labels) in family.samples:
            raise Malformed(f"series twice: {line!r}")
        family.samples[(name, labels)] = value
    for family in families.values():
        _check_names(family)
        if family.kind == "histogram":
            _check_histogram(family)
    return families
