"""Next events are asked for before they are known: a hit is a hit of a list that knew nothing of the event."""

from __future__ import annotations

from graphrec.service.prequential import K, Prequential, Score


def known(client, user: str = "u1") -> tuple[str, str, int]:
    """An item that is first on a user's list, one that is not on it, and the offset of the log."""
    shop = client.running.recommender
    found = shop.recommend(user, K)
    seen = {touched.item for touched in shop.profile(user, 100).newest}
    other = next(item for item in shop.items if item not in {*found.ids(), *seen})
    return found[0].item, other, shop.offset


def test_hits_and_misses_are_counted_beside_those_of_what_is_popular(client) -> None:
    shop = client.running.recommender
    hit, miss, offset = known(client)
    seen = [touched.item for touched in shop.profile("u1", 100).newest]
    popular = shop.trending(K, exclude=seen).ids()
    tested = Prequential(shop)
    tested.ask("u1", hit, offset)
    assert tested.score == Score(1, 1, int(hit in popular))
    tested.ask("u1", miss, offset)
    assert tested.score == Score(2, 1, int(hit in popular) + int(miss in popular))


def test_no_question_about_what_is_unknown_seen_or_already_followed(client) -> None:
    shop = client.running.recommender
    hit, _, offset = known(client)
    tested = Prequential(shop)
    tested.ask("nobody", hit, offset)
    tested.ask("u1", "nothing", offset)
    tested.ask("u1", shop.profile("u1").newest[0].item, offset)
    tested.ask("u1", hit, offset - 1)  # the list may know the event
    assert tested.score == Score()


def test_at_most_one_event_a_second_is_picked(client) -> None:
    tested = Prequential(client.running.recommender)
    rows = [{"user": "u1", "item": "i1"}, {"user": "u1", "item": "i1"}]
    assert tested.pick([{"user": 3, "item": "i1"}]) is None
    assert tested.pick(rows) == ("u1", "i1", 700)
    assert tested.pick(rows) is None


def test_a_post_is_tested_before_it_is_learned(client) -> None:
    hit, _, _ = known(client)
    client.running.follower.stop()  # the answers learn nothing meanwhile
    event = {"user": "u1", "item": hit, "timestamp": 1_710_000_000}
    assert client.post("/v1/events?wait=false", json=event).json()["accepted"] == 1
    for thread in [client.running._pool.submit(lambda: None) for _ in range(2)]:
        thread.result()
    client.running.recommender.refresh()
    assert (client.running.prequential.score.asked, client.running.prequential.score.hits) == (1, 1)
