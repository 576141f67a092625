"""plan, history, diff, rollback."""

import json

from tests.integration.control.objects import SET

MORE = SET.replace("requests: 20", "requests: 30")


def test_a_plan_shows_everything_and_changes_nothing(control):
    plane = control()
    plane.apply(SET)
    file = plane.folder / "shop.yaml"
    assert plane.run("plan", "-f", str(file)).stdout == "nothing would change\n"
    file.write_text(MORE)
    planned = plane.run("plan", "-f", str(file), "--check")
    assert planned.returncode == 4, planned.stderr
    assert "-    requests: 20\n+    requests: 30\n" in planned.stdout
    assert "RateLimit" in planned.stdout
    assert "limit" in planned.stdout
    assert "to be given to 0 connected sidecars" in planned.stdout
    assert plane.get("/v1/objects").json()["revision"] == 1
    found = json.loads(plane.run("plan", "-f", str(file), "-o", "json").stdout)
    [change] = found["resources"]
    assert (change["type"], change["what"]) == ("RateLimit", "changed")
    assert any("requests" in field for field in change["fields"])


def test_a_plan_says_whose_clients_end(control):
    plane = control()
    plane.apply(SET)
    file = plane.folder / "shop.yaml"
    listener = next(found for found in json.loads(plane.run("get", "Listener", "one", "-o", "json").stdout))
    address = listener["spec"]["address"]
    file.write_text(SET.replace(address, "127.0.0.1:1234"))
    assert f"Listener one takes new clients at 127.0.0.1:1234; those of {address} stay connected" in plane.run("plan", "-f", str(file)).stdout


def test_a_plan_of_something_refused_is_refused(control):
    plane = control()
    refused = plane.run("plan", "-f", "-", stdin=SET.replace("listeners: [one]", "listeners: [on]"))
    assert refused.returncode == 2
    assert "stdin:25: RateLimit limit: spec.listeners[0]: there is no Listener on" in refused.stderr


def test_history_diff_and_rollback(control):
    plane = control()
    plane.apply(SET, "--reason", "first")
    plane.apply(MORE, "--reason", "more")
    plane.run("delete", "Fault", "slow", "--reason", "calm")
    shown = plane.run("history").stdout
    assert [word in shown for word in ("first", "more", "calm", "Fault slow removed")] == [True] * 4
    assert [change["revision"] for change in json.loads(plane.run("history", "-o", "json", "--limit", "2").stdout)] == [3, 2]
    assert "+++ /dev/null" in plane.run("diff").stdout, "the latest change"
    assert "+    requests: 30" in plane.run("diff", "2").stdout
    assert "-    requests: 30" in plane.run("diff", "2", "1").stdout
    assert plane.run("diff", "3", "3").stdout == "revisions 3 and 3 have the same objects\n"
    missing = plane.run("diff", "9")
    assert (missing.returncode, missing.stderr) == (1, "there is no revision 9; revisions 1 to 3 are kept\n")

    dry = plane.run("rollback", "1", "--dry-run")
    assert "Fault slow created (dry run)" in dry.stdout
    back = plane.run("rollback", "1", "--reason", "too much")
    assert back.returncode == 0, back.stderr
    assert "RateLimit limit changed" in back.stdout
    assert "revision 4" in back.stdout
    assert plane.run("diff", "1", "4").stdout == "revisions 1 and 4 have the same objects\n"
    latest = json.loads(plane.run("history", "-o", "json").stdout)[0]
    assert (latest["revision"], latest["reason"]) == (4, "too much")
    assert plane.run("rollback", "0").returncode == 0, "to nothing"
    assert plane.get("/v1/objects").json()["objects"] == []


def test_two_control_planes_over_one_database(control, postgres_shards):
    first, second = (control("--store", postgres_shards[1].dsn()) for _ in range(2))
    first.apply(SET)
    again = second.apply(MORE)
    assert "RateLimit limit changed" in again.stdout, again.stderr
    assert "revision 2" in again.stdout
    assert "+    requests: 30" in first.run("diff").stdout
    first.kill()
    assert second.run("rollback", "1").returncode == 0
