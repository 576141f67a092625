"""What can be authored before any family has registered its own."""

from mesh_core.compile import tcp
from mesh_core.compile.listener import compile_listener
from mesh_core.compile.policy import compile_access_policy, compile_fault, compile_rate_limit, compile_tap
from mesh_core.compile.secrets import compile_secret
from mesh_core.model.builtin import check_listener, check_listeners, check_rate_limit, no_check
from mesh_core.model.kinds import Kind, Kinds
from mesh_core.model.listener import ListenerSpec
from mesh_core.model.policy import AccessPolicySpec, FaultSpec, RateLimitSpec, TapSpec
from mesh_core.model.secrets import SecretSpec


def kinds() -> Kinds:
    """The kinds that belong to no family."""
    result = Kinds()
    result.add(Kind("Listener", ListenerSpec, check_listener(result), compile_listener(result)))
    result.add(Kind("AccessPolicy", AccessPolicySpec, check_listeners, compile_access_policy))
    result.add(Kind("RateLimit", RateLimitSpec, check_rate_limit(result), compile_rate_limit))
    result.add(Kind("Fault", FaultSpec, check_listeners, compile_fault))
    result.add(Kind("Tap", TapSpec, check_listeners, compile_tap))
    result.add(Kind("Secret", SecretSpec, no_check, compile_secret))
    tcp.register(result)
    return result
