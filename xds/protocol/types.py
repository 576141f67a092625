"""Type URLs the protocol itself has opinions about, and the order in which a change goes out.

Make before break (S10): what is referred to goes before what refers to it, removals go last and in the opposite order. Midstream's own
rules stand before the listeners, because a listener must never serve a request without the rules that were applied with it.
"""

from xds.messages import type_url

SECRET = type_url("envoy.extensions.transport_sockets.tls.v3.Secret")
CLUSTER = type_url("envoy.config.cluster.v3.Cluster")
ENDPOINTS = type_url("envoy.config.endpoint.v3.ClusterLoadAssignment")
LISTENER = type_url("envoy.config.listener.v3.Listener")
ROUTE = type_url("envoy.config.route.v3.RouteConfiguration")
SCOPED_ROUTE = type_url("envoy.config.route.v3.ScopedRouteConfiguration")
VIRTUAL_HOST = type_url("envoy.config.route.v3.VirtualHost")
EXTENSION = type_url("envoy.config.core.v3.TypedExtensionConfig")
RUNTIME = type_url("envoy.service.runtime.v3.Runtime")

_RULES_RANK = 3
_RANK = {SECRET: 0, CLUSTER: 1, ENDPOINTS: 2, LISTENER: 4, SCOPED_ROUTE: 5, ROUTE: 6, VIRTUAL_HOST: 7, RUNTIME: 8}

# State of the world: a response of these types is the complete set, and absence deletes (W1).
COMPLETE_TYPES = frozenset({CLUSTER, LISTENER})


def push_rank(url: str) -> tuple[int, str]:
    """Sort key of a type URL; types the table does not name are rules."""
    return (_RANK.get(url, _RULES_RANK), url)
