"""Which nodes the owner of a certificate may be."""

import datetime
import time
from pathlib import Path

import pytest

from mesh_core.control import sidecar_access
from mesh_core.control.access import Access
from mesh_core.control.sidecar_access import SidecarGate
from mesh_core.lab.certs import VALID_DAYS, Authority
from xds.client.credentials import Credentials
from xds.messages import message
from xds.server.gate import Call, Denied

SHOP = "spiffe://example.org/ns/shop"
node = message("envoy.config.core.v3.Node")


def entries(folder: Path, *lines: str) -> SidecarGate:
    (file := folder / "access.yaml").write_text("sidecars:\n" + "".join(f"  - {line}\n" for line in lines))
    return SidecarGate(Access(file))


def call(folder: Path, *uris: str) -> Call:
    return Call({}, Authority(folder).issue("shop-1", uris=uris).certificate.read_bytes())


def test_a_certificate_by_itself_is_the_node_of_its_name(tmp_path: Path):
    gate = SidecarGate(None)
    for found, own in ((call(tmp_path), "shop-1"), (call(tmp_path, f"{SHOP}/shop-2"), "shop-2")):
        peer = gate.admit(found)
        peer.require(node(id=own))
        assert peer.may_see(own)
        assert not peer.may_see("shop-3")
        for other in (node(id="shop-3"), node(), node(id=own, cluster="shop")):
            with pytest.raises(Denied, match="may not be"):
                peer.require(other)


def test_a_certificate_with_two_names_is_nobodys(tmp_path: Path):
    with pytest.raises(Denied, match="has 2 names; it needs one SPIFFE ID"):
        SidecarGate(None).admit(call(tmp_path, f"{SHOP}/1", f"{SHOP}/2"))


def test_entries_say_which_nodes_and_clusters_a_certificate_may_be(tmp_path: Path):
    gate = entries(tmp_path, f'{{name: shop, certificate: "{SHOP}/*", nodes: ["shop-*"], clusters: [shop]}}', "{name: own, certificate: shop-1}")
    peer = gate.admit(call(tmp_path, f"{SHOP}/all"))
    peer.require(node(id="shop-7", cluster="shop"))
    with pytest.raises(Denied, match=r"may not be the node bank-1, only shop-\*"):
        peer.require(node(id="bank-1"))
    with pytest.raises(Denied, match="may not be of the cluster bank: add that to its `clusters`"):
        peer.require(node(id="shop-7", cluster="bank"))
    gate.admit(call(tmp_path)).require(node(id="shop-1"))
    with pytest.raises(Denied, match="is known to no entry"):
        gate.admit(call(tmp_path, "spiffe://elsewhere.org/shop-1"))


def test_an_entry_that_is_taken_away_ends_what_it_allowed(tmp_path: Path):
    gate = entries(tmp_path, f'{{name: shop, certificate: "{SHOP}/*"}}')
    peer = gate.admit(call(tmp_path, f"{SHOP}/shop-1"))
    assert not gate.has_changed()
    entries(tmp_path, f'{{name: shop, certificate: "{SHOP}/*", nodes: [shop-2]}}')
    assert gate.has_changed()
    with pytest.raises(Denied, match="may not be the node shop-1, only shop-2"):
        peer.require_still(node(id="shop-1"))


def test_a_certificate_ends_with_its_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    peer = SidecarGate(None).admit(call(tmp_path))
    end = time.time() + datetime.timedelta(days=VALID_DAYS).total_seconds()
    assert peer.expires == pytest.approx(end, abs=100)
    monkeypatch.setattr(sidecar_access.time, "time", lambda: end + 100)
    with pytest.raises(Denied, match="has expired: replace the sidecar's files"):
        peer.require_still(node(id="shop-1"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{name: shop}", "give tokenSha256 or certificate, and not both"),
        (f"{{name: shop, tokenSha256: {'a' * 64}}}", "a token names no node; give `nodes`"),
        (f"{{name: shop, tokenSha256: {'a' * 64}, certificate: a}}", "and not both"),
    ],
)
def test_wrong_entries_are_refused(tmp_path: Path, line: str, said: str):
    with pytest.raises(ValueError, match=said):
        entries(tmp_path, line)


def test_nothing_is_shown_to_who_might_overhear_it():
    file = Path("file")
    assert "a token is not sent to 10.0.0.1 without TLS" in Credentials(token=file).problem(["127.0.0.1", "10.0.0.1"])
    assert Credentials(token=file).problem(["127.0.0.1", "::1", "localhost"]) == ""
    assert Credentials(token=file, ca=file).problem(["10.0.0.1"]) == ""
    assert "go together" in Credentials(ca=file, certificate=file).problem([])
    assert "over TLS only" in Credentials(certificate=file, key=file).problem([])
