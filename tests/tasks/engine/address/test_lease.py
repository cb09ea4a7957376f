"""Locks of a store in a bucket: one holds, who dies loses, and who lives keeps, whatever the clocks say."""

import multiprocessing
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from comem_core.addresses import remote
from comem_core.addresses.remote import Remote
from tasks.engine.address import lease as leases
from tasks.engine.address.lease import Held, Lease, LeaseLost, hold_lease
from tasks.engine.address.store import RemoteStore
from tasks.engine.store import ArtefactBusy
from tests.tasks.engine.drafts import ROWS, draft

PLACE = "filter/f00d.lock"


def test_only_one_of_many_that_ask_at_once_holds_at_a_time(bucket: str) -> None:
    inside, most, order = [0], [0], []

    def work(number: int) -> None:
        with hold_lease(Lease(Remote(bucket), PLACE), wait_seconds=60):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            order.append(number)
            inside[0] -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(order) == [0, 1, 2, 3] and most == [1]
    assert len(Remote(bucket).list_names(PLACE)) == 1  # the last one is kept, for the numbers only rise


def hold(bucket: str, ready, seconds: float) -> None:
    with hold_lease(Lease(Remote(bucket), PLACE, seconds=seconds), wait_seconds=5):
        ready.set()
        time.sleep(60)


def test_a_dead_holder_loses_its_lease_at_once_on_its_own_machine(bucket: str, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    holder = spawn.Process(target=hold, args=(bucket, ready, 600.0))
    holder.start()
    assert ready.wait(60)
    store = RemoteStore(bucket, tmp_path, lock_wait_seconds=0.3)
    with pytest.raises(ArtefactBusy, match="another run has been making filter f00d"), store.lock("filter", "f00d"):
        pass
    holder.kill()
    holder.join()
    with store.lock("filter", "f00d") as waited:
        assert not waited


def test_elsewhere_a_lease_is_lost_when_it_was_not_renewed_for_its_length_and_kept_by_the_living(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    living = Lease(Remote(bucket), PLACE, seconds=1.2)
    living.acquire(wait_seconds=1)
    monkeypatch.setattr(leases, "_name_machine", lambda: "another machine")
    with pytest.raises(TimeoutError):
        Lease(Remote(bucket), PLACE, seconds=1.2).acquire(wait_seconds=3)  # longer than the lease, which is renewed
    living._ended.set()  # as if its process were stopped: nobody renews
    living._renewer.join()  # pyright: ignore[reportOptionalMemberAccess]
    assert living.held is not None
    late = replace(living.held, time="2001-01-01T00:00:00+00:00")  # the clocks of the two do not agree
    Remote(bucket).write(f"{PLACE}/{living.number:08}", late.write())
    began = time.monotonic()
    other = Lease(Remote(bucket), PLACE, seconds=1.2)
    assert other.acquire(wait_seconds=30)
    assert time.monotonic() - began > 1.2
    with pytest.raises(LeaseLost, match="has taken it over"):
        living.check()
    living.release()
    other.check()  # the release of who lost it does not free it
    other.release()


def test_who_lost_the_lease_completes_nothing(bucket: str, tmp_path: Path) -> None:
    store = RemoteStore(bucket, tmp_path / "one")
    with store.lock("filter", "f00d"):
        partial = store.begin("filter", "f00d")
        partial.write_shard("part-00000", ROWS)
        Remote(bucket).write(f"{PLACE}/00000002", Held.make(30).write())
        with pytest.raises(LeaseLost, match="start the same command again"):
            store.finish(partial, draft())
    assert store.find("filter", "f00d") is None
    assert store.begin("filter", "f00d").list_finished() == {"part-00000"}


def test_a_number_that_is_not_the_highest_does_not_hold(bucket: str) -> None:
    store = Remote(bucket)
    store.write(f"{PLACE}/00000007", replace(Held.make(30), free=True).write())
    slow = Lease(store, PLACE)
    assert not slow._take(5)  # it had seen 4 as the highest
    assert store.list_names(PLACE) == ["00000007"]
    assert not slow._take(7)
    slow.acquire(wait_seconds=1)
    assert slow.number == 8
    slow.release()


def test_where_two_can_write_one_object_the_last_writer_holds(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some servers ignore the condition of the request; then a writer looks again after a while."""
    monkeypatch.setitem(remote._exclusive, bucket, False)
    monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.6)
    pauses = iter([0.0, 0.3])

    def write_whatever_is_there(self: Remote, name: str, content: bytes) -> bool:
        time.sleep(next(pauses))
        self.write(name, content)
        return True

    monkeypatch.setattr(Remote, "write_new", write_whatever_is_there)
    first, second, won = Lease(Remote(bucket), PLACE), Lease(Remote(bucket), PLACE), []
    threads = [threading.Thread(target=lambda each=each: won.append(each._take(1))) for each in (first, second)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(won) == [False, True]
    [holder] = [each for each in (first, second) if each.held is not None]
    holder.release()


def test_whether_two_can_write_one_object_is_tried_and_leaves_nothing(bucket: str) -> None:
    assert Remote(bucket).is_exclusive
    assert Remote(bucket).list_sizes() == {}
    assert Remote(bucket).write_new("a", b"1") and not Remote(bucket).write_new("a", b"2")
    assert Remote(bucket).write_new("a", b"1")  # the request that succeeded, but whose answer was lost
