"""The protocol-blind rules."""

from collections.abc import Iterable, Sequence

from google.protobuf.message import Message

from mesh_core.model.kinds import Authored, Compiled, World
from mesh_core.model.policy import Match, Rule
from mesh_core.model.values import parse_duration_ms
from xds.messages import enum_values, message, type_url


def compile_access_policy(policy: Authored, world: World) -> Iterable[Compiled]:
    spec = policy.spec
    result = _new("AccessPolicy", policy)
    result.identities.extend(spec.identities)
    for rule in spec.rules:
        _add_rule(result, rule)
    return [_compiled(policy, result)]


def compile_rate_limit(limit: Authored, world: World) -> Iterable[Compiled]:
    spec = limit.spec
    result = _new("RateLimit", limit)
    _set_match(result.match, spec.match)
    result.requests = spec.limit.requests or 0
    result.bytes = spec.limit.bytes or 0
    result.period_ms = parse_duration_ms(spec.limit.per)
    result.burst = spec.limit.burst
    result.each = spec.limit.each.upper()
    result.over = "THROTTLE" if spec.limit.throttles else "REFUSE"
    return [_compiled(limit, result)]


def compile_fault(fault: Authored, world: World) -> Iterable[Compiled]:
    spec = fault.spec
    result = _new("Fault", fault)
    _set_match(result.match, spec.match)
    result.percent = spec.percent
    result.delay_ms = parse_duration_ms(spec.delay) if spec.delay else 0
    result.error = spec.error
    result.message = spec.message
    return [_compiled(fault, result)]


def compile_tap(tap: Authored, world: World) -> Iterable[Compiled]:
    result = _new("Tap", tap)
    _set_match(result.match, tap.spec.match)
    result.percent = tap.spec.percent
    return [_compiled(tap, result)]


def _new(name: str, owner: Authored) -> Message:
    return message(f"midstream.policy.v1.{name}")(name=owner.name, listeners=owner.spec.listeners)


def _compiled(owner: Authored, result: Message) -> Compiled:
    return Compiled(type_url(result.DESCRIPTOR.full_name), owner.name, result, owner)


def _set_match(target: Message, match: Match) -> None:
    target.SetInParent()
    target.identities.extend(match.identities)
    target.classes.extend(_classes(match.class_))
    target.verbs.extend(match.verbs)
    target.resources.extend(match.resources)


def _add_rule(policy: Message, rule: Rule) -> None:
    classes = rule.allow if rule.allow is not None else rule.deny or []
    effect = "ALLOW" if rule.allow is not None else "DENY"
    policy.rules.add(effect=effect, classes=_classes(classes), verbs=rule.verbs, resources=rule.resources)


def _classes(names: Sequence[str]) -> list[int]:
    """No classes means all of them, which is what "*" asks for."""
    if "*" in names:
        return []
    values = enum_values("midstream.policy.v1.Class")
    return [values[name.upper()] for name in names]
