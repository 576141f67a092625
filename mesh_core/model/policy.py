"""The protocol-blind rules: AccessPolicy, RateLimit, Fault, Tap."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mesh_core.model.values import Duration, Percent, Spec, parse_duration_ms

Class = Literal["read", "write", "admin"]
Listeners = Annotated[list[str], Field(min_length=1)]


class Match(Spec):
    """An empty list matches everything."""

    identities: list[str] = Field(default_factory=list)
    class_: list[Class] = Field(default_factory=list, alias="class")
    verbs: list[str] = Field(default_factory=list)
    resources: list[str] = Field(default_factory=list)


class Rule(Spec):
    """Either allow or deny, with the classes of request it is about; "*" is all of them."""

    allow: list[Class | Literal["*"]] | None = None
    deny: list[Class | Literal["*"]] | None = None
    verbs: list[str] = Field(default_factory=list)
    resources: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one(self) -> "Rule":
        if (self.allow is None) == (self.deny is None):
            raise ValueError("a rule has either allow or deny")
        return self


class AccessPolicySpec(Spec):
    listeners: Listeners
    identities: list[str] = Field(default_factory=list)
    rules: Annotated[list[Rule], Field(min_length=1)]


class Limit(Spec):
    requests: Annotated[int, Field(ge=1)] | None = None
    bytes: Annotated[int, Field(ge=1)] | None = None  # of Kafka's messages; they throttle always
    per: Duration = "1s"
    burst: Annotated[int, Field(ge=0)] = 0
    each: Literal["process", "identity", "client", "resource"] = "process"  # whose the tokens are; the last two where it throttles
    over: Literal["refuse", "throttle"] | None = None  # what becomes of what goes over; by default requests are refused

    @model_validator(mode="after")
    def _period(self) -> "Limit":
        if parse_duration_ms(self.per) == 0:
            raise ValueError("a limit per 0s allows nothing that can be measured")
        if (self.requests is None) == (self.bytes is None):
            raise ValueError("a limit is of requests or of bytes; give one of the two")
        if self.bytes is not None and self.over == "refuse":
            raise ValueError("bytes are charged when they have passed, so they can't be refused; write over: throttle, or leave it out")
        if self.each in ("client", "resource") and not self.throttles:
            raise ValueError(f"each: {self.each} is for limits that throttle; write process or identity, or over: throttle")
        return self

    @property
    def throttles(self) -> bool:
        """Whether users wait, and nothing is refused."""
        return self.bytes is not None or self.over == "throttle"


class RateLimitSpec(Spec):
    listeners: Listeners
    match: Match = Match()
    limit: Limit


class FaultSpec(Spec):
    listeners: Listeners
    match: Match = Match()
    percent: Percent = 100.0
    delay: Duration | None = None
    error: bool = False
    message: str = ""

    @model_validator(mode="after")
    def _something(self) -> "FaultSpec":
        if (self.delay is not None) == self.error:
            raise ValueError("a fault is either a delay or an error; give one of the two")
        if self.message and not self.error:
            raise ValueError("message is the text of an error; add error: true")
        return self


class TapSpec(Spec):
    listeners: Listeners
    match: Match = Match()
    percent: Percent = 100.0
