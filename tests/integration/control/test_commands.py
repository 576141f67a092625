"""The command line and the REST API against a running control plane: what is stored, what is refused, what is printed."""

import json

import yaml

from tests.integration.control.objects import OBJECTS, SET
from tests.unit.mesh_core.shop import SHOP


def test_apply_get_delete(control):
    plane = control()
    applied = plane.apply(SET)
    assert applied.returncode == 0, applied.stderr
    assert "Listener one created" in applied.stdout
    assert "revision 1" in applied.stdout
    again = plane.apply(SET.replace("requests: 20", "requests: 30"))
    assert "RateLimit limit changed" in again.stdout
    assert "Listener one unchanged" in again.stdout
    found = json.loads(plane.run("get", "RateLimit", "limit", "-o", "json").stdout)
    assert found[0]["spec"]["limit"]["requests"] == 30
    assert [item["metadata"]["name"] for item in yaml.safe_load_all(plane.run("get", "Listener", "-o", "yaml").stdout)] == ["one", "two"]
    assert plane.run("delete", "Fault", "slow").returncode == 0
    gone = plane.run("get", "Fault", "slow")
    assert (gone.returncode, gone.stderr) == (1, "there is no Fault slow\n")


def test_one_bad_object_and_nothing_of_the_set_is_stored(control):
    plane = control()
    refused = plane.apply(SET.replace("listeners: [one]", "listeners: [on]"))
    assert refused.returncode == 2
    assert f"{plane.folder}/shop.yaml:25: RateLimit limit: spec.listeners[0]: there is no Listener on; did you mean one?" in refused.stderr
    assert plane.get("/v1/objects").json() == {"revision": 0, "objects": []}


def test_what_others_need_cannot_be_deleted_alone_but_together(control):
    plane = control()
    plane.apply(SET)
    alone = plane.run("delete", "TcpService", "one")
    assert alone.returncode == 2
    assert "shop.yaml:9: Listener one: spec.backend: there is no TcpService one" in alone.stderr
    together = plane.run("delete", "-f", str(plane.folder / "shop.yaml"))
    assert together.returncode == 0, together.stderr
    assert plane.get("/v1/objects").json()["objects"] == []


def test_dry_run_changes_nothing(control):
    plane = control()
    assert "Listener one created (dry run)" in plane.apply(SET, "--dry-run").stdout
    assert plane.get("/v1/objects").json()["revision"] == 0


def test_objects_come_from_standard_input_too(control):
    plane = control()
    assert plane.run("apply", "-f", "-", stdin=SET).returncode == 0
    refused = plane.run("apply", "-f", "-", stdin=SET.replace("listeners: [one]", "listeners: [on]"))
    assert "stdin:25: RateLimit limit" in refused.stderr


def test_without_a_control_plane_the_command_says_where_it_looked(control):
    plane = control()
    plane.kill()
    missing = plane.run("get")
    assert missing.returncode == 1
    assert f"no control plane answers on {plane.rest}" in missing.stderr


def test_objects_survive_a_kill(control):
    plane = control()
    plane.apply(SET)
    plane.kill()
    plane.start()
    found = plane.get("/v1/objects").json()
    assert (found["revision"], len(found["objects"])) == (1, OBJECTS)


def test_a_second_control_plane_on_the_address_ends_with_the_reason(control):
    plane = control()
    second = plane.run("control", "--grpc", plane.grpc, "--rest", plane.rest, "--store", str(plane.folder / "other.db"))
    assert second.returncode == 2
    assert f"cannot listen for REST on {plane.rest}" in second.stderr
    assert plane.stop() == 0


def test_objects_of_a_folder_are_served_and_changed_there_only(control, tmp_path):
    files = tmp_path / "objects"
    files.mkdir()
    (files / "shop.yaml").write_text(SET)
    plane = control("--config", str(files))
    assert len(plane.get("/v1/objects").json()["objects"]) == OBJECTS
    refused = plane.apply(SET.replace("requests: 20", "requests: 21"))
    assert refused.returncode == 1
    assert "change the files there" in refused.stderr


def test_a_folder_with_a_mistake_is_refused_at_the_start(control, tmp_path):
    plane = control()
    file = tmp_path / "bad.yaml"
    file.write_text(SET.replace("backend: one", "backend: on"))
    refused = plane.run("control", "--config", str(file), "--rest", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
    assert refused.returncode == 2
    assert f"{file}:9: Listener one: spec.backend: there is no TcpService on; did you mean one?" in refused.stderr


def test_history_tells_who_and_why(control):
    plane = control()
    plane.apply(SET, "--reason", "first")
    (change,) = plane.get("/v1/history").json()["changes"]
    assert (change["revision"], change["reason"]) == (1, "first")
    assert ["Listener", "one"] in change["put"]


def test_openapi_describes_every_kind_and_the_example_fits_it(control):
    import jsonschema

    document = control().get("/openapi.json").json()
    for item in yaml.safe_load_all(SHOP):
        schema = {"$ref": f"#/components/schemas/{item['kind']}", "components": document["components"]}
        jsonschema.validate(item, schema)


def test_a_request_that_is_not_this_api_is_told_so(control):
    plane = control()
    assert plane.post("/v1/apply", {"sources": [], "surce": 1}).status_code == 400
    assert plane.post("/v1/delete", {"objects": [{"kind": "Listener", "name": "x"}]}).status_code == 404
    assert plane.get("/v1/history?limit=many").status_code == 400
