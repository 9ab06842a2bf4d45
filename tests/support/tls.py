"""A throw-away authority, and a TLS-terminating proxy before an engine, as a gateway would be."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ("OPENSSL", "Authority", "tls_proxy")

OPENSSL = shutil.which("openssl")
CA_SETTINGS = """
[ca]
default_ca = here
[here]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""


class Authority:
    """Signs certificates; its own is `file`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        self._openssl(
            "req", "-x509", *self._new_key(self._key), "-subj", f"/CN={name}", "-out", str(self.file)
        )

    def sign(self, name: str, *alternatives: str) -> tuple[Path, Path]:
        """The files of a certificate for those names, and of its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        extra = ["-addext", f"subjectAltName={','.join(alternatives)}"] if alternatives else []
        authority = ["-CA", str(self.file), "-CAkey", str(self._key)]
        self._openssl(
            *("req", "-x509", *self._new_key(key), "-subj", f"/CN={name}", *extra, *authority),
            *("-out", str(certificate)),
        )
        return certificate, key

    def self_signed(self, name: str, *alternatives: str) -> tuple[Path, Path]:
        """The files of a certificate that vouches for itself, and of its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        extra = ("-addext", f"subjectAltName={','.join(alternatives)}")
        self._openssl(
            *("req", "-x509", *self._new_key(key), "-subj", f"/CN={name}", *extra, "-out", str(certificate))
        )
        return certificate, key

    def sign_for(self, name: str, begins: str, ends: str, *alternatives: str) -> tuple[Path, Path]:
        """The same as `sign`, for a time such as 20200101000000Z to 20200201000000Z."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, settings = self.folder / f"{name}.csr", self.folder / "ca.cnf"
        settings.write_text(CA_SETTINGS)
        (self.folder / "index.txt").touch()
        extra = ("-addext", f"subjectAltName={','.join(alternatives)}")
        self._openssl("req", *self._new_key(key), "-subj", f"/CN={name}", *extra, "-out", str(request))
        self._openssl(
            *("ca", "-batch", "-config", str(settings), "-rand_serial", "-in", str(request)),
            *("-cert", str(self.file), "-keyfile", str(self._key), "-out", str(certificate)),
            *("-startdate", begins, "-enddate", ends),
        )
        return certificate, key

    def _new_key(self, file: Path) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(file)]

    def _openssl(self, *words: str) -> None:
        assert OPENSSL is not None
        subprocess.run([OPENSSL, *words], check=True, capture_output=True, cwd=self.folder)


@contextmanager
def tls_proxy(
    engine: str, certificate: tuple[Path, Path], *, clients: Path | None = None, cut_after: int | None = None
) -> Iterator[str]:
    """The `wss://localhost:PORT` that leads to `engine`.

    `clients` is the authority that clients need a certificate of. After `cut_after` bytes to a client its
    TCP connection ends without the alert that a good TLS end has.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_accept, args=(listener, context, engine, cut_after), daemon=True)
    thread.start()
    try:
        yield f"wss://localhost:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _accept(listener: socket.socket, context: ssl.SSLContext, engine: str, cut_after: int | None) -> None:
    threads: list[threading.Thread] = []
    while True:
        try:
            raw, _ = listener.accept()
        except OSError:
            break
        threads.append(threading.Thread(target=_serve, args=(raw, context, engine, cut_after), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(5)


def _serve(raw: socket.socket, context: ssl.SSLContext, engine: str, cut_after: int | None) -> None:
    """Hand bytes both ways, until one side ends.

    An SSLObject over two memory buffers, because an SSLSocket must not be used by two threads at once.
    """
    parts = urlsplit(engine)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    lock = threading.Lock()
    with raw, suppress(OSError, ssl.SSLError):
        try:
            _shake_hands(raw, tls, incoming, outgoing)
        finally:
            raw.sendall(outgoing.read())  # the alert, where it failed
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as plain:
            down = threading.Thread(
                target=_down, args=(plain, raw, tls, outgoing, lock, cut_after), daemon=True
            )
            down.start()
            try:
                _up(raw, plain, tls, incoming, lock)
            finally:
                with suppress(OSError):
                    plain.shutdown(socket.SHUT_RDWR)
                down.join(5)


def _shake_hands(
    raw: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
) -> None:
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            raw.sendall(outgoing.read())
            data = raw.recv(65536)
            if not data:
                raise ConnectionError from None
            incoming.write(data)
            continue
        return


def _up(
    raw: socket.socket,
    plain: socket.socket,
    tls: ssl.SSLObject,
    incoming: ssl.MemoryBIO,
    lock: threading.Lock,
) -> None:
    while True:
        chunks = []
        with lock, suppress(ssl.SSLWantReadError):
            while chunk := tls.read(65536):
                chunks.append(chunk)
        for chunk in chunks:
            plain.sendall(chunk)
        data = raw.recv(65536)
        if not data:
            return
        with lock:
            incoming.write(data)


def _down(
    plain: socket.socket,
    raw: socket.socket,
    tls: ssl.SSLObject,
    outgoing: ssl.MemoryBIO,
    lock: threading.Lock,
    cut_after: int | None,
) -> None:
    handed = 0
    with suppress(OSError, ssl.SSLError):
        while data := plain.recv(65536):
            with lock:
                tls.write(data)
                coded = outgoing.read()
            raw.sendall(coded)
            handed += len(data)
            if cut_after is not None and handed > cut_after:
                break
        else:
            with lock:
                with suppress(ssl.SSLWantReadError):
                    tls.unwrap()
                coded = outgoing.read()
            raw.sendall(coded)
    with suppress(OSError):
        raw.shutdown(socket.SHUT_RDWR)
