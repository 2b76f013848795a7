"""The one TLS port: ALPN decides whether a connection speaks gRPC (h2) or HTTP/1.1, bytes are piped on."""

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Door:
    """The listening port and the connections through it."""

    def __init__(self) -> None:
        self.server: asyncio.Server | None = None
        self.ends: set[asyncio.StreamWriter] = set()
        self.inside: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Returns when no connection is left open."""
        if self.server:
            self.server.close()
        for end in list(self.ends):
            end.transport.abort()
        await asyncio.gather(*self.inside, return_exceptions=True)
        # Transports let go of their sockets in the loop's next turn.
        await asyncio.sleep(0.01)


async def open_door(directory: Path, host: str, port: int, *, grpc_port: int, http_port: int) -> Door:
    """Listen with TLS on host:port and pipe each connection to one of two plain loopback servers."""
    door = Door()

    async def enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        door.inside.add(task)
        door.ends.add(writer)
        try:
            await pass_through(reader, writer)
        finally:
            door.inside.discard(task)
            door.ends.discard(writer)

    async def pass_through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = writer.get_extra_info("ssl_object")
        inner_port = grpc_port if tls.selected_alpn_protocol() == "h2" else http_port
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", inner_port)
        except OSError:
            writer.close()
            return
        door.ends.add(inner_writer)
        try:
            await _pipe_both(reader, writer, inner_reader, inner_writer)
        finally:
            door.ends.discard(inner_writer)

    door.server = await asyncio.start_server(enter, host, port, ssl=_tls(directory))
    return door


async def _pipe_both(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    inner_reader: asyncio.StreamReader,
    inner_writer: asyncio.StreamWriter,
) -> None:
    """Copy in both directions until either side ends; TLS knows no half-closed connections."""
    pipes = [
        asyncio.create_task(_pipe(reader, inner_writer)),
        asyncio.create_task(_pipe(inner_reader, writer)),
    ]
    try:
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in pipes:
            task.cancel()
        for end in (writer, inner_writer):
            end.close()
        await asyncio.gather(*pipes, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def _tls(directory: Path) -> ssl.SSLContext:
    key_file, certificate_file = directory / "tls.key", directory / "tls.crt"
    if not certificate_file.exists():
        _make_certificate(key_file, certificate_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def _make_certificate(key_file: Path, certificate_file: Path) -> None:
    """A self-signed certificate for loopback; clients trust it on first use."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
