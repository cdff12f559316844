"""Results on object stores: who holds them, what goes wrong on the way, and other file systems that fsspec knows."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from uuid import uuid4

import pytest
from s3fs import S3FileSystem

from affect.engine import lease
from affect.engine.executors import Inline
from affect.engine.objects import ObjectFolder
from affect.engine.packs import Pack
from affect.engine.plan import plan
from affect.engine.results import Workplace
from affect.engine.run import run
from affect.engine.store import Store
from affect.engine.work import run_pack
from affect.errors import UserError
from affect.resolved import Resolved
from affect.study import Row
from tests.engine.helpers import NO_ROWS, Results, Silent, another_run

Resolve = Callable[..., Resolved]


def test_a_silent_holder_stops_writing_once_another_took_over(
    resolve: Resolve, place: Workplace, s3_results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = Pack(plan(resolve(Row("toy")), NO_ROWS).trials)
    result = run_pack(pack, place)
    for name, seconds in (("BEAT", 3600.0), ("POLL", 0.1), ("LEASE", 2.0)):
        monkeypatch.setattr(lease, name, seconds)
    told: list[str] = []
    silent, taker, third = (Store(s3_results.uri, "trial_study", told.append) for _ in range(3))
    with ExitStack() as taken:
        with silent.locked():
            monkeypatch.setattr(lease, "BEAT", 0.2)
            taken.enter_context(taker.locked())
            assert len(told) == 1
            assert "waiting up to 2 s to see whether that run is alive" in told[0]
            for write in (lambda: silent.fix([pack]), lambda: silent.commit(pack, result)):
                with pytest.raises(UserError, match=r"taken over by another run \(.+, pid \d+\)"):
                    write()
            assert not s3_results.names("trial_study/packs")
            assert not s3_results.names("trial_study/trials")
        taker.commit(pack, result)
        assert s3_results.filesystem.ls(f"{s3_results.path}/trial_study/.lock", detail=False) == [
            f"{s3_results.path}/trial_study/.lock/2"
        ]
        with pytest.raises(UserError, match="in use by another run"), third.locked():
            pass
    told.clear()
    with third.locked():
        assert len(third.trials()) == len(result.trials)
    assert not told, "nobody waits for a lock that was given back"


def test_one_of_several_takers_gets_the_lock_of_a_dead_run(s3_results: Results, short_lease: None) -> None:
    with another_run(s3_results.uri, "trial_study") as holder:
        holder.kill()
        holder.wait()
    over = threading.Event()

    def take(_: int) -> str:
        try:
            with Store(s3_results.uri, "trial_study").locked():
                over.wait(60)
                return "held"
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        takers = as_completed([pool.submit(take, i) for i in range(4)])
        refused = [next(takers).result() for _ in range(3)]
        over.set()
        assert next(takers).result() == "held"
    assert all("in use by another run" in sentence for sentence in refused)


def test_one_of_several_creates_an_object(s3_results: Results) -> None:
    folder = ObjectFolder(s3_results.filesystem, s3_results.path)

    def create(i: int) -> bool:
        try:
            folder.create("one", str(i).encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, range(8)))
    assert created.count(True) == 1
    assert folder.read("one") == str(created.index(True)).encode()


def test_a_server_that_creates_what_exists_is_refused(s3_results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    store = Store(s3_results.uri, "trial_study", told.append)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectFolder, "create", ObjectFolder.write)
        with pytest.raises(UserError, match="its server cannot keep two runs apart"), store.locked():
            pass
    with store.locked():
        assert not told, "the refused run holds nothing"


def test_a_server_in_trouble_is_not_taken_for_damage(
    resolve: Resolve, place: Workplace, s3_results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(s3_results.uri, "trial_study")

    async def fail(*_: object, **__: object) -> None:
        raise OSError("Please reduce your request rate.")

    def alone(*_: object) -> None:
        asyncio.run(fail())

    with store.locked():
        run(resolve(Row("toy")), store, Inline(), place, Silent())
        before = s3_results.contents("trial_study/trials")
        assert isinstance(store.folder, ObjectFolder)
        with monkeypatch.context() as patch:
            patch.setattr(store.folder.filesystem, "_cat_file", fail)
            patch.setattr(store.folder.filesystem, "cat_file", alone)
            with pytest.raises(UserError, match=r"trials: cannot be reached \(Please reduce your request rate\)"):
                store.trials()
    assert s3_results.contents("trial_study/trials") == before
    assert not s3_results.names("trial_study/quarantine")


@pytest.mark.parametrize(
    ("uri", "environment", "sentence"),
    [
        ("s3://no-such-bucket/results", {}, "cannot be reached (The specified bucket does not exist)."),
        (
            "s3://bucket/results",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
            "cannot be reached (Unable to locate credentials).",
        ),
        (
            "s3://bucket/results",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"},
            "cannot be reached (Could not connect to the endpoint URL",
        ),
    ],
)
def test_places_out_of_reach_are_named(
    s3_server: None, monkeypatch: pytest.MonkeyPatch, uri: str, environment: dict[str, str], sentence: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError) as error:
        Store(uri, "trial_study")
    S3FileSystem.clear_instance_cache()
    assert str(error.value).startswith(f"{uri}/trial_study: {sentence}")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(
        UserError, match=r"^s3://bucket: a package for s3:// is missing \(pip install affect\[s3\]\)\.$"
    ):
        Store("s3://bucket", "trial_study")


@pytest.mark.parametrize("uri", ["http://host/results", "sftp://host/results", "simplecache::s3://bucket/results"])
def test_places_without_exclusive_creation(uri: str) -> None:
    with pytest.raises(UserError, match=rf"^{uri}: is no place for results; give a local folder, or an object store"):
        Store(uri, "trial_study")


def test_other_file_systems(resolve: Resolve, place: Workplace) -> None:
    uri = f"memory://{uuid4()}/results"
    for rows in ((Row("toy"),), (Row("toy"), Row("other"))):
        store = Store(uri, "trial_study")
        with store.locked():
            summary = run(resolve(*rows), store, Inline(), place, Silent())
            assert summary.trained == 2
            assert summary.left == 0
    assert set(Store.at(f"{uri}/trial_study").trials()["system"]) == {"toy", "other"}
