"""The last good set on disk: whole or not at all, private, without secrets."""

import stat
from pathlib import Path

import pytest

from mesh_core.sidecar.last_good import Damaged, LastGood
from xds.messages import message
from xds.protocol.client import Held
from xds.protocol.types import LISTENER, SECRET

SECRET_MESSAGE = "envoy.extensions.transport_sockets.tls.v3.Secret"


def secret(name: str, **source: str) -> Held:
    value = message(SECRET_MESSAGE)(name=name)
    for field, text in source.items():
        setattr(value.generic_secret.secret, field, text)
    return Held(SECRET, name, "v1", value.SerializeToString())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    last_good = LastGood(tmp_path / "state" / "shop-1.json")
    resources = [Held(LISTENER, "shop", "v7", b"\x00\xff bytes"), secret("s", environment_variable="SHOP_PASSWORD")]
    last_good.save(resources)
    assert last_good.load() == resources
    assert stat.S_IMODE(last_good.path.stat().st_mode) == 0o600


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert LastGood(tmp_path / "none.json").load() is None


def test_a_secret_value_is_never_written(tmp_path: Path) -> None:
    last_good = LastGood(tmp_path / "x.json")
    last_good.save([secret("inline", inline_string="hunter2"), secret("named", filename="/run/secrets/x")])
    assert [held.name for held in last_good.load() or []] == ["named"]
    assert b"hunter2" not in last_good.path.read_bytes()


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b.replace(b"v7", b"v8"), lambda b: b"", lambda b: b"\xff" + b])
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, damage) -> None:
    last_good = LastGood(tmp_path / "x.json")
    last_good.save([Held(LISTENER, "shop", "v7", b"x")])
    last_good.path.write_bytes(damage(last_good.path.read_bytes()))
    with pytest.raises(Damaged, match="remove it"):
        last_good.load()
