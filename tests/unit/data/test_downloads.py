"""Downloads from a server on loopback end in a whole, verified file, or in no file and one sentence."""

from __future__ import annotations

import hashlib
import http.server
import ssl
import threading
from pathlib import Path

import pytest

from deepmix.data import Collection, RemoteFile, downloads, obtain
from deepmix.errors import DeepmixError, UsageError

CONTENT = bytes(range(256)) * 4096


SHA256 = hashlib.sha256(CONTENT).hexdigest()


ELSEWHERE = {"/to-good": "/good", "/to-ftp": "ftp://127.0.0.1/good", "/to-file": "file:///etc/hostname"}
"""Where addresses redirect to."""


class Handler(http.server.BaseHTTPRequestHandler):
    """A handler that sends CONTENT, half of it, none of it, or other bytes, depending on the address."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path in ELSEWHERE:
            self.send_response(302)
            self.send_header("Location", ELSEWHERE[self.path])
            self.end_headers()
            return
        body = {"/other": b"other", "/endless": CONTENT * 2}.get(self.path, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/half" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "SCHEMES", ("http",))  # a server on loopback has no certificate
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def collection(*urls: str, sha256: str | None = SHA256, n_bytes: int = len(CONTENT)) -> Collection:
    return Collection("numbers", (RemoteFile("bytes.bin", sha256, urls),), n_bytes)


def everything(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_is_fetched_once_and_announced(server, tmp_path, capsys):
    files = collection(f"{server.url}/good")
    for _ in range(2):
        paths = obtain(files, tmp_path, download=True, prepared="numbers.npz")
        assert paths["bytes.bin"] == tmp_path / "numbers" / "bytes.bin"
        assert paths["bytes.bin"].read_bytes() == CONTENT
    assert server.asked == ["/good"]
    assert everything(tmp_path) == ["bytes.bin"]
    announced = capsys.readouterr().err
    assert announced.count("fetching") == 1
    assert "'numbers'" in announced
    assert "1.0 MB" in announced


def test_the_next_address_is_tried(server, tmp_path):
    addresses = [f"{server.url}/{way}" for way in ("gone", "half", "other", "good")]
    paths = obtain(collection(*addresses), tmp_path, download=True, prepared="numbers.npz")
    assert paths["bytes.bin"].read_bytes() == CONTENT
    assert server.asked == ["/gone", "/half", "/other", "/good"]
    assert everything(tmp_path) == ["bytes.bin"]


def test_a_connection_that_breaks_is_the_addresss_fault_and_a_full_disk_is_not(server, tmp_path, monkeypatch):
    def broken(response, size):
        raise ssl.SSLError(1, "bad record")

    with monkeypatch.context() as patch:
        patch.setattr("http.client.HTTPResponse.read", broken)
        with pytest.raises(DeepmixError, match="bad record"):
            obtain(collection(f"{server.url}/a", f"{server.url}/b"), tmp_path, download=True, prepared="numbers.npz")
    assert server.asked == ["/a", "/b"]
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            obtain(collection(f"{server.url}/a", f"{server.url}/b"), tmp_path, download=True, prepared="numbers.npz")
    assert server.asked == ["/a", "/b", "/a"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("/gone", "HTTP status 404"),
        ("/half", "broke off after 524,288 of 1,048,576 bytes"),
        ("/other", f"its SHA-256 is {hashlib.sha256(b'other').hexdigest()}"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_put_where(server, tmp_path, way, reason):
    with pytest.raises(DeepmixError) as caught:
        obtain(collection(server.url + way), tmp_path, download=True, prepared="numbers.npz")
    message = str(caught.value)
    for words in (reason, "put numbers.npz into", str(tmp_path / "numbers"), f"bytes.bin (from {server.url}{way})"):
        assert words in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "SCHEMES", ("http",))
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/good"
    with pytest.raises(DeepmixError, match=r"can't be fetched .*[Cc]onnection refused.*put numbers\.npz into"):
        obtain(collection(url), tmp_path, download=True, prepared="numbers.npz")
    assert everything(tmp_path) == []


def test_a_file_put_there_by_hand_is_taken_wherever_it_lies(tmp_path):
    (tmp_path / "bytes.bin").write_bytes(CONTENT)
    paths = obtain(collection("http://127.0.0.1:9/"), tmp_path, download=False, prepared="numbers.npz")
    assert paths["bytes.bin"] == tmp_path / "bytes.bin"


def test_a_damaged_cached_file_is_named(tmp_path):
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "bytes.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(
        DeepmixError, match=r"numbers/bytes\.bin' is not the published file \(its SHA-256 is .*remove it"
    ):
        obtain(collection("http://127.0.0.1:9/"), tmp_path, download=True, prepared="numbers.npz")


def test_nothing_is_fetched_where_that_was_refused(server, tmp_path):
    with pytest.raises(UsageError, match="not fetched: download is false"):
        obtain(collection(f"{server.url}/good"), tmp_path, download=False, prepared="numbers.npz")
    assert server.asked == []
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_seen_before(server, tmp_path):
    with pytest.raises(UsageError, match=r"takes 1,000,000,000,000\.0 MB and there are"):
        obtain(collection(f"{server.url}/good", n_bytes=10**18), tmp_path, download=True, prepared="numbers.npz")
    assert server.asked == []


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "numbers").write_text("a file where the folder should be")
    with pytest.raises(UsageError, match=r"can't be written .*data_dir"):
        obtain(collection("http://127.0.0.1:9/"), tmp_path, download=True, prepared="numbers.npz")


def test_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    advance = downloads.Progress.update

    def interrupt(self, *args, **kwargs):
        advance(self, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads.Progress, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        obtain(collection(f"{server.url}/good"), tmp_path, download=True, prepared="numbers.npz")
    assert everything(tmp_path) == []


def refused(address: str, folder: Path, **options) -> str:
    """Return why a file can't be fetched from an address; nothing may be left of the attempt."""
    with pytest.raises(DeepmixError) as caught:
        obtain(collection(address, **options), folder, download=True, prepared="numbers.npz")
    assert list(folder.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/good", "file:///etc/hostname", "ftp://127.0.0.1/good"])
def test_an_address_without_https_is_not_asked(tmp_path, address):
    scheme = address.partition(":")[0]
    assert f"'{scheme}' addresses are not safe; only https is used" in refused(address, tmp_path)


@pytest.mark.parametrize(
    ("scheme", "reason"), [("ftp", "'ftp' addresses are not safe"), ("file", "HTTP status 302")], ids=["ftp", "file"]
)
def test_a_redirection_to_an_unsafe_address_is_not_followed(server, tmp_path, scheme, reason):
    assert reason in refused(f"{server.url}/to-{scheme}", tmp_path)
    assert server.asked == [f"/to-{scheme}"]


def test_a_redirection_to_a_safe_address_is_followed(server, tmp_path):
    obtain(collection(f"{server.url}/to-good"), tmp_path, download=True, prepared="numbers.npz")
    assert server.asked == ["/to-good", "/good"]


def test_a_file_larger_than_published_is_given_up(server, tmp_path):
    assert "more than 1,572,864 bytes, so it is not the published" in refused(f"{server.url}/endless", tmp_path)


def test_a_download_that_trickles_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "LEAST_SECONDS", -1.0)
    monkeypatch.setattr(downloads, "LEAST_BYTES_PER_SECOND", 1e12)
    seconds = iter([0.0, 1e9])
    monkeypatch.setattr(downloads.time, "monotonic", lambda: next(seconds, 2e9))
    assert "still not whole after 0 s" in refused(f"{server.url}/good", tmp_path)


def test_a_file_without_a_digest_is_read_and_never_fetched(server, tmp_path):
    with pytest.raises(UsageError, match=r"states no SHA-256 to check it by; put numbers\.npz into"):
        obtain(collection(f"{server.url}/good", sha256=None), tmp_path, download=True, prepared="numbers.npz")
    assert server.asked == []
    (tmp_path / "bytes.bin").write_bytes(b"by hand")
    paths = obtain(collection(sha256=None), tmp_path, download=True, prepared="numbers.npz")
    assert paths == {"bytes.bin": tmp_path / "bytes.bin"}
