"""The compose scenes refer to nothing that is not there, and their objects are good ones.

`docker compose config` is asked where it is installed; the rest of this file finds what it would say, without it.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh_core.cli import families
from mesh_core.control.config import load
from tests.unit.house import tree

COMPOSE = tree.ROOT / "compose"
SCENES = sorted(path.name for path in COMPOSE.glob("*.yaml") if path.name != "sidecar.yaml")
OBJECTS = COMPOSE / "objects"
SERVICE_KEYS = {
    *("build", "command", "configs", "depends_on", "environment", "extends", "healthcheck"),
    *("image", "network_mode", "networks", "ports", "stop_grace_period"),
}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


def read(path: Path) -> dict[str, Any]:
    """A scene with what it includes and extends, as compose merges them."""
    scene = yaml.safe_load(path.read_text())
    merged: dict[str, Any] = {"services": {}, "networks": {}, "configs": {}}
    for included in scene.get("include", []):
        for part, found in read(path.parent / included).items():
            merged[part] |= found
    for service in scene["services"].values():
        if "extends" in service:
            base = read(path.parent / service["extends"]["file"])["services"][service["extends"]["service"]]
            service |= {key: value for key, value in base.items() if key not in service}
    for config in (scene.get("configs") or {}).values():
        config["file"] = (path.parent / config["file"]).resolve()
    for part in merged:
        merged[part] |= scene.get(part) or {}
    return merged


@pytest.mark.parametrize("scene", SCENES)
def test_services_are_spelt_as_compose_spells_them(scene: str) -> None:
    for name, service in read(COMPOSE / scene)["services"].items():
        assert service.keys() <= SERVICE_KEYS, f"{scene}: {name} has {service.keys() - SERVICE_KEYS}; mend the key, or add it to SERVICE_KEYS"
        assert "image" in service, f"{scene}: {name} has no image"
        assert not ("networks" in service and "network_mode" in service), f"{scene}: {name} has networks and network_mode; compose takes one"


@pytest.mark.parametrize("scene", SCENES)
def test_what_a_scene_refers_to_is_there(scene: str) -> None:
    merged = read(COMPOSE / scene)
    services, configs, networks = merged["services"], merged["configs"], {*merged["networks"], "default"}
    for name, service in services.items():
        needed = service.get("depends_on", {})
        assert needed.keys() <= services.keys(), f"{scene}: {name} depends on {needed.keys() - services.keys()}"
        assert {one["condition"] for one in needed.values()} <= CONDITIONS, f"{scene}: {name} waits for an unknown condition"
        assert all("healthcheck" in services[other] for other, one in needed.items() if one["condition"] == "service_healthy"), f"{scene}: {name}"
        assert {one["source"] for one in service.get("configs", [])} <= configs.keys(), f"{scene}: {name} mounts an unknown config"
        assert set(service.get("networks", [])) <= networks, f"{scene}: {name} joins an unknown network"
        assert service.get("network_mode", "service:sidecar").removeprefix("service:") in services, f"{scene}: {name}"
    assert all(config["file"].exists() for config in configs.values()), f"{scene}: a config's file is missing"


@pytest.mark.parametrize("files", [["postgres"], ["redis"], ["kafka"], ["postgres", "redis", "kafka", "policies"]], ids=" ".join)
def test_the_objects_of_the_scenes_are_good(files: list[str], tmp_path: Path) -> None:
    for name in files:
        shutil.copy(OBJECTS / f"{name}.yaml", tmp_path)
    assert load(tmp_path, families().kinds).held()


@pytest.mark.parametrize("scene", SCENES)
def test_compose_takes_the_scene(scene: str) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("not installed: docker compose")
    ran = subprocess.run([docker, "compose", "-f", str(COMPOSE / scene), "config", "--quiet"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
