"""The catalogue in memory: the last version of each item, and whose text is another one."""

from __future__ import annotations

from graphrec.events.catalogue import Catalogue
from graphrec.events.event import Item
from graphrec.events.store import EventStore


def test_the_last_version_counts_and_changed_texts_are_named() -> None:
    with EventStore.open("sqlite://") as store:
        store.upsert_items([Item("a", "A", "text", {"price": 5}), Item("b", "B"), Item("c")])
        catalogue = Catalogue()
        assert catalogue.changed_texts(store.catalogue()) == {0: "text", 1: "B"}  # c has none
        catalogue.update(store.catalogue())
        assert (len(catalogue), catalogue.offset) == (3, 3)
        assert (catalogue.text(0), catalogue.text(1), catalogue.text(2), catalogue.text(9)) == ("text", "B", "", "")
        store.upsert_items([Item("a", "A!", "text"), Item("b", "B", "more")])  # a: another title, the same text
        store.upsert_items([Item("c", "C"), Item("c")])  # there and back
        versions = store.catalogue(catalogue.offset)
        assert catalogue.changed_texts(versions) == {1: "more"}
        catalogue.update(versions)
        assert (catalogue.title(0), catalogue.title(9)) == ("A!", "")
        assert catalogue.get(0) == Item("a", "A!", "text")
        assert catalogue.get(9) is None
        whole = Catalogue()
        whole.update(store.catalogue())
        assert [whole.get(number) for number in range(3)] == [catalogue.get(number) for number in range(3)]
