"""Compile the DynamoDB expressions that Sluice writes, conditions and updates, to functions.

Values have DynamoDB's JSON format: {"S": "text"}, {"N": "1"}. A missing attribute is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

Value = dict[str, Any]
Item = dict[str, Value]
Step = str | int


class Invalid(Exception):
    """An expression for which DynamoDB would answer ValidationException."""


class Scope(NamedTuple):
    """The item of an expression, and the values of its placeholders."""

    item: Item
    names: Mapping[str, str]
    values: Mapping[str, Value]


Operand = Callable[[Scope], Value | None]
Condition = Callable[[Scope], bool]
Change = Callable[[Scope, Item], None]

_TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),.\[\]+-]|[#:]?[A-Za-z0-9_]+)")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@cache
def condition(text: str) -> Condition:
    """Compile a condition to a function of its scope."""
    reader = _Reader(text)
    found = reader.alternatives()
    reader.end()
    return found


@cache
def update(text: str) -> tuple[Change, ...]:
    """Compile an update to its changes. Each gets the scope before the update, and the item to change."""
    reader = _Reader(text)
    changes: list[Change] = []
    while reader.next is not None:
        changes += reader.clause()
    return tuple(changes)


def names(text: str, placeholders: Mapping[str, str]) -> list[str]:
    """The attributes of a projection; all are of the top level."""
    return [placeholders.get(name.strip(), name.strip()) for name in text.split(",")]


def comparable(value: Value) -> Any:
    """A value as DynamoDB compares it: numbers by value, sets without order."""
    ((kind, content),) = value.items()
    if kind == "N":
        return kind, Decimal(content)
    return kind, frozenset(content) if kind in ("SS", "NS") else content


class _Reader:
    """Parses an expression by recursive descent."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                raise NotImplementedError(f"{text[at:]!r} of {text!r}")
            self._tokens.append(match[1])
            at = match.end()
        self._at = 0

    @property
    def next(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def take(self, wanted: str | None = None) -> str:
        token = self.next
        if token is None or (wanted is not None and token != wanted):
            raise NotImplementedError(f"{token!r} where {wanted!r} is expected: {self._tokens}")
        self._at += 1
        return token

    def accept(self, token: str) -> bool:
        if self.next != token:
            return False
        self._at += 1
        return True

    def end(self) -> None:
        if self.next is not None:
            raise NotImplementedError(f"{self._tokens[self._at :]}")

    # ── conditions ──

    def alternatives(self) -> Condition:
        parts = [self._together()]
        while self.accept("OR"):
            parts.append(self._together())
        return parts[0] if len(parts) == 1 else lambda scope: any(part(scope) for part in parts)

    def _together(self) -> Condition:
        parts = [self._negated()]
        while self.accept("AND"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else lambda scope: all(part(scope) for part in parts)

    def _negated(self) -> Condition:
        if not self.accept("NOT"):
            return self._simple()
        negated = self._negated()
        return lambda scope: not negated(scope)

    def _simple(self) -> Condition:
        if self.accept("("):
            inside = self.alternatives()
            self.take(")")
            return inside
        match self.next:
            case "attribute_exists":
                (path,) = self._arguments()
                return lambda scope: path(scope) is not None
            case "attribute_not_exists":
                (path,) = self._arguments()
                return lambda scope: path(scope) is None
            case "contains":
                whole, part = self._arguments()
                return lambda scope: _contains(whole(scope), part(scope))
            case "begins_with":
                whole, part = self._arguments()
                return lambda scope: _begins_with(whole(scope), part(scope))
        left = self.operand()
        operator = self.take()
        if operator == "IN":
            choices = self._parenthesised()
            return lambda scope: any(_holds("=", left(scope), each(scope)) for each in choices)
        if operator == "BETWEEN":
            low = self.operand()
            self.take("AND")
            high = self.operand()
            return lambda scope: (
                _holds("<=", low(scope), left(scope)) and _holds("<=", left(scope), high(scope))
            )
        right = self.operand()
        return lambda scope: _holds(operator, left(scope), right(scope))

    def _arguments(self) -> list[Operand]:
        self.take()
        return self._parenthesised()

    def _parenthesised(self) -> list[Operand]:
        self.take("(")
        found = [self.operand()]
        while self.accept(","):
            found.append(self.operand())
        self.take(")")
        return found

    # ── operands ──

    def operand(self) -> Operand:
        token = self.next or ""
        if token == "size":
            (path,) = self._arguments()
            return lambda scope: _size(path(scope))
        if token == "if_not_exists":
            path, otherwise = self._arguments()
            return lambda scope: found if (found := path(scope)) is not None else otherwise(scope)
        if token == "list_append":
            first, second = self._arguments()
            return lambda scope: _appended(first(scope), second(scope))
        if token.startswith(":"):
            self.take()
            return lambda scope: scope.values[token]
        steps = self._path()
        return lambda scope: _found(scope.item, _named(steps, scope.names))

    def _path(self) -> tuple[Step, ...]:
        steps: list[Step] = [self.take()]
        while self.next in (".", "["):
            if self.accept("."):
                steps.append(self.take())
            else:
                self.take("[")
                steps.append(int(self.take()))
                self.take("]")
        return tuple(steps)

    # ── updates ──

    def clause(self) -> list[Change]:
        kind = self.take()
        changes = [self._change(kind)]
        while self.accept(","):
            changes.append(self._change(kind))
        return changes

    def _change(self, kind: str) -> Change:
        steps = self._path()
        if kind == "REMOVE":
            return lambda scope, item: _remove(item, _named(steps, scope.names))
        if kind == "SET":
            self.take("=")
            value = self.operand()
            while self.next in ("+", "-"):
                value = _sum(self.take(), value, self.operand())
            return lambda scope, item: _set(item, _named(steps, scope.names), value(scope))
        if kind in ("ADD", "DELETE"):
            more = self.operand()
            combine = _added if kind == "ADD" else _without
            return lambda scope, item: combine(item, _named(steps, scope.names), more(scope))
        raise NotImplementedError(kind)


def _named(steps: tuple[Step, ...], placeholders: Mapping[str, str]) -> list[Step]:
    return [placeholders.get(step, step) if isinstance(step, str) else step for step in steps]


def _found(item: Item, steps: list[Step]) -> Value | None:
    first, *rest = steps
    at = item.get(str(first))
    for step in rest:
        if at is None:
            return None
        if isinstance(step, int):
            at = at["L"][step] if "L" in at and step < len(at["L"]) else None
        else:
            at = at["M"].get(step) if "M" in at else None
    return at


def _inside(item: Item, steps: list[Step]) -> Item:
    """The map that holds the last of `steps`."""
    at = item
    for step in steps[:-1]:
        inner = at.get(str(step))
        if inner is None or "M" not in inner:
            raise Invalid(
                "The document path provided in the update expression is invalid for update"
            )
        at = inner["M"]
    return at


def _set(item: Item, steps: list[Step], value: Value | None) -> None:
    if value is None:
        raise Invalid(
            "The provided expression refers to an attribute that does not exist in the item"
        )
    _inside(item, steps)[str(steps[-1])] = deepcopy(value)


def _remove(item: Item, steps: list[Step]) -> None:
    _inside(item, steps).pop(str(steps[-1]), None)


def _added(item: Item, steps: list[Step], more: Value | None) -> None:
    assert more is not None
    had = _found(item, steps)
    ((kind, content),) = more.items()
    if kind == "N":
        total = Decimal(content) + (Decimal(had["N"]) if had else 0)
        _set(item, steps, {"N": str(total)})
    else:
        _set(item, steps, {kind: sorted({*content, *(had[kind] if had else ())})})


def _without(item: Item, steps: list[Step], less: Value | None) -> None:
    assert less is not None
    had = _found(item, steps)
    ((kind, content),) = less.items()
    left = sorted({*(had[kind] if had else ())} - {*content})
    if left:
        _set(item, steps, {kind: left})
    else:
        _remove(item, steps)


def _sum(sign: str, first: Operand, second: Operand) -> Operand:
    def of(scope: Scope) -> Value | None:
        left, right = first(scope), second(scope)
        if left is None or right is None:
            return None
        by = Decimal(right["N"]) if sign == "+" else -Decimal(right["N"])
        return {"N": str(Decimal(left["N"]) + by)}

    return of


def _holds(operator: str, left: Value | None, right: Value | None) -> bool:
    if left is None or right is None:
        return operator == "<>"
    (left_kind, a), (right_kind, b) = comparable(left), comparable(right)
    if left_kind != right_kind:
        return operator == "<>"
    return _COMPARISONS[operator](a, b)


def _contains(whole: Value | None, part: Value | None) -> bool:
    if whole is None or part is None:
        return False
    ((kind, content),) = whole.items()
    if kind == "L":
        return part in content
    ((_, wanted),) = part.items()
    return wanted in content


def _begins_with(whole: Value | None, part: Value | None) -> bool:
    return whole is not None and part is not None and whole.get("S", "").startswith(part["S"])


def _size(value: Value | None) -> Value | None:
    if value is None:
        return None
    ((_, content),) = value.items()
    return {"N": str(len(content))}


def _appended(first: Value | None, second: Value | None) -> Value | None:
    return None if first is None or second is None else {"L": first["L"] + second["L"]}
