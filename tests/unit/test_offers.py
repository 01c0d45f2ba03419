"""What may be read of the fleet's registry: by whom, of what, for how long."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.registry.asked import Asked, asked_for
from ollama_fleet.api.registry.offers import IDLE_S, Offers
from ollama_fleet.control.stores import Layer, Manifest

DIGESTS = [f"sha256:{n:064x}" for n in range(3)]
MODEL = Manifest(
    name="Tiny:1B",
    key="registry.ollama.ai/library/tiny:1b",
    path="registry.ollama.ai/library/Tiny/1B",
    digest="0" * 64,
    modified_ns=0,
    layers=tuple(Layer(digest, 10) for digest in DIGESTS[:2]),
    content=b"{}",
)
STORE = Path("store")


def offers(*tokens):
    return Offers(iter(tokens).__next__)


class TestWhatIsAsked:
    def test_a_manifest_is_asked_for_by_its_tag_and_a_blob_by_its_digest(self):
        assert asked_for("GET", "/v2/t0/tiny/manifests/1b") == Asked("t0", "tiny", "1b", "")
        assert asked_for("HEAD", f"/v2/t0/tiny/blobs/{DIGESTS[0]}") == Asked(
            "t0", "tiny", "", DIGESTS[0]
        )

    def test_nothing_else_is_asked_for(self):
        for method, target in (
            ("PUT", "/v2/t0/tiny/manifests/1b"),
            ("GET", "/v2/t0/tiny/manifests/1b?x=1"),
            ("GET", "/v2/t0/tiny/manifests/1b/"),
            ("GET", "//v2/t0/tiny/manifests/1b"),
            ("GET", "/v2/t0/../tiny/manifests/1b"),
            ("GET", "/v2/t0/tiny/manifests/%31b"),
            ("GET", "/v2/t0/a/b/manifests/1b"),
            ("GET", "/v2/t0/tiny/blobs/sha256:../../../etc/passwd"),
            ("GET", f"/v2/t0/tiny/blobs/{DIGESTS[0]}0"),
            ("GET", f"/v2/t0/tiny/blobs/{DIGESTS[0].replace(':', '-')}"),
            ("GET", "/v2/"),
            ("GET", "/v2/_catalog"),
            ("GET", "/v2/t0/tiny/tags/list"),
        ):
            assert asked_for(method, target) is None, target

    @given(st.text(), st.text())
    def test_whatever_is_asked_for_can_be_written_in_one_way_only(self, before, after):
        """No second spelling of a target is read: what is understood is what was written."""
        target = f"{before}/v2/t0/tiny/manifests/1b{after}"
        asked = asked_for("GET", target)
        if asked is not None:
            assert target == f"/v2/{asked.token}/{asked.model}/manifests/{asked.tag}"

    @given(st.from_regex(r"/v2/[^/]*/[^/]*/blobs/[^/]*", fullmatch=True))
    def test_a_digest_is_never_anything_but_hex(self, target):
        asked = asked_for("GET", target)
        assert asked is None or re.fullmatch(r"sha256:[0-9a-fA-F]{64}", asked.digest)


class TestWhoMayHaveIt:
    def test_an_offer_is_found_by_its_token_alone(self):
        some = offers("aa", "bb")
        one, other = (some.issue(MODEL, STORE, 0.0) for _ in range(2))
        assert some.find("aa", 1.0) is one
        assert some.find("bb", 1.0) is other
        for wrong in ("", "a", "aaa", "AA", "ab", "ä"):
            assert some.find(wrong, 1.0) is None

    def test_a_name_is_of_the_token_and_of_the_model_as_the_store_spells_it(self):
        assert offers("aa").issue(MODEL, STORE, 0.0).name == "aa/Tiny:1B"

    def test_only_its_own_manifest_and_blobs_are_in_it(self):
        """In whatever case an Ollama knows the name already."""
        offer = offers("aa").issue(MODEL, STORE, 0.0)
        assert offer.has_manifest(Asked("aa", "tiny", "1b", ""))
        assert not offer.has_manifest(Asked("aa", "tiny", "2b", ""))
        assert not offer.has_manifest(Asked("aa", "other", "1b", ""))
        assert [offer.layer(digest) for digest in DIGESTS] == [*MODEL.layers, None]

    def test_an_offer_that_nobody_uses_expires(self):
        some = offers("aa")
        some.issue(MODEL, STORE, 0.0)
        assert some.find("aa", IDLE_S) is not None
        assert some.find("aa", 2 * IDLE_S) is not None, "it was used in between"
        assert some.find("aa", 3 * IDLE_S + 1) is None
        assert some.find("aa", 3 * IDLE_S + 2) is None, "to ask is not to use"

    def test_an_offer_does_not_expire_while_something_is_read(self):
        some = offers("aa")
        offer = some.issue(MODEL, STORE, 0.0)
        offer.reading.add(lambda: None)
        assert some.find("aa", 100 * IDLE_S) is offer

    def test_what_is_revoked_is_found_no_more_and_what_is_read_of_it_ends(self):
        some, ended = offers("aa", "bb"), []
        offer, other = (some.issue(MODEL, STORE, 0.0) for _ in range(2))
        offer.reading.add(lambda: ended.append("offer"))
        other.reading.add(lambda: ended.append("other"))
        some.revoke(offer)
        assert (some.find("aa", 0.0), some.find("bb", 0.0)) == (None, other)
        assert offer.revoked
        assert not other.revoked
        assert ended == ["offer"]
        assert len(some) == 1
