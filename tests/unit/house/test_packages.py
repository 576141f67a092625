"""Which Python package may import which."""

from tests.unit.house import tree

FAMILIES = {"db_mesh", "msg_mesh", "cache_mesh"}
MAY_IMPORT = {  # package -> packages of ours that it may use, at any depth
    "xds": set(),
    "mesh_core": {"xds"},
    "db_mesh": {"mesh_core", "xds"},
    "msg_mesh": {"mesh_core", "xds"},
    "cache_mesh": {"mesh_core", "xds"},
}


def test_arrows_between_packages() -> None:
    for module in tree.modules():
        package = module.partition(".")[0]
        foreign = {name.partition(".")[0] for name in tree.imports(module)} - {package} - MAY_IMPORT[package]
        assert not foreign, (
            f"{module} imports {foreign}: the core must start without the families (a Redis-only sidecar imports no SQL planner); "
            "they register with it through the entry points midstream.families"
        )


def test_no_import_cycles() -> None:
    graph = {module: tree.imports(module) for module in tree.modules()}
    while leaves := [module for module, used in graph.items() if not used & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    assert not graph, f"an import cycle runs through some of {sorted(graph)}: none of them can be understood or tested alone"
