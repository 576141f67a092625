"""How clients of a listener prove who they are by SASL."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mesh_core.model.secrets import SecretRef
from mesh_core.model.values import Duration, Spec

Mechanism = Literal["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"]


class Tokens(Spec):
    """What a JSON web token must say: signed (RS256, ES256) by one of the keys, not expired, and the rest where it is given."""

    keys_from: SecretRef  # a JWK set
    issuer: str = ""
    audiences: list[str] = Field(default_factory=list)  # one of them
    claims: dict[str, str] = Field(default_factory=dict)  # each has the value, or has it among several; "": any
    identity_claim: str = "sub"
    leeway: Duration = "30s"  # how wrong clocks may be


class Sasl(Spec):
    """Mechanisms left out: all that the listener's users and tokens serve."""

    mechanisms: Annotated[list[Mechanism], Field(min_length=1)] | None = None
    tokens: Tokens | None = None
    session_lifetime: Duration | None = None  # clients authenticate again within it; a token's own end is another limit
    login_timeout: Duration = "30s"  # who has not proven by then who it is, is closed

    @model_validator(mode="after")
    def _tokens(self) -> Self:
        if self.mechanisms is not None and ("oauthbearer" in self.mechanisms) != (self.tokens is not None):
            raise ValueError("oauthbearer among the mechanisms and tokens belong together; give both, or none")
        return self
