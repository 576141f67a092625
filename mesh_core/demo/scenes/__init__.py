"""The play: its scenes in order."""

from ..scene import Scene
from .bad_rules import BadRules
from .cache_master_dies import CacheMasterDies
from .control_plane_dies import ControlPlaneDies
from .control_plane_returns import ControlPlaneReturns
from .opening import Opening
from .prefix_limited import PrefixLimited
from .stocktaking import Stocktaking
from .table_sharded import TableSharded
from .topic_denied import TopicDenied


def in_order() -> list[Scene]:
    return [
        Opening(),
        TableSharded(),
        TopicDenied(),
        PrefixLimited(),
        BadRules(),
        CacheMasterDies(),
        ControlPlaneDies(),
        ControlPlaneReturns(),
        Stocktaking(),
    ]
