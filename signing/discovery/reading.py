"""Asks one orchestrator what it offers, over gRPC and HTTP on its one port; it may be slow, wrong or hostile."""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import grpc
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509

from signing.discovery import addresses, offers
from signing.discovery.addresses import IpAddress
from signing.discovery.offers import Info, Nonsense, Runner
from signing.pm import livepeer_pb2 as pb

AT_ONCE = 32
MOST_BYTES = 1024 * 1024
HALF_SECONDS = 5.0
_METHOD = "/net.Orchestrator/GetOrchestrator"
_CERTIFICATE_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,253}")
_NO_SUCH_PAGE = {404, 405, 501}
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "clearinghouse"}


class Unreadable(Exception):
    """Nothing was learnt; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class Introduction:
    """A sender's 20 bytes and its signature over its own address: whom an orchestrator makes an offer to."""

    sender: bytes
    signature: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What one orchestrator answered; None for the half that could not be read, and `trouble` says why."""

    address: str
    info: Info | None
    runners: tuple[Runner, ...] | None
    trouble: str


async def read_all(wanted: Sequence[str], *, introduction: Introduction | None, allow_private: bool) -> list[Reading]:
    """One reading for each address, some at once."""
    room = asyncio.Semaphore(AT_ONCE)
    # A thread for each: one whose name server keeps silent must not keep the others from being looked up.
    threads = ThreadPoolExecutor(max(1, len(wanted)), thread_name_prefix="discovery")

    async def one(address: str) -> Reading:
        async with room:
            return await _read(address, introduction, threads, allow_private=allow_private)

    try:
        return await asyncio.gather(*map(one, wanted))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


async def _read(address: str, introduction: Introduction | None, threads: Executor, *, allow_private: bool) -> Reading:
    """Asks both questions; never raises for what the other side does."""
    host, port = addresses.split(address)
    try:
        ip = await _in_time(_resolve(host, port, threads, allow_private=allow_private))
    except Unreadable as error:
        return Reading(address=address, info=None, runners=None, trouble=error.code)
    info, document = await asyncio.gather(
        _outcome(_in_time(_ask_info(host, port, ip, introduction, threads))),
        _outcome(_in_time(_ask_runners(address, ip))),
    )
    runners: tuple[Runner, ...] | None = None
    trouble = [each.code for each in (info, document) if isinstance(each, Unreadable)]
    own = {address} | ({info.service_uri} if isinstance(info, Info) and info.service_uri else set())
    if isinstance(document, bytes):
        try:
            runners = offers.read_runners(document, frozenset(own)) if document else ()
        except Nonsense:
            trouble.append("discovery_nonsense")
    return Reading(
        address=address,
        info=info if isinstance(info, Info) else None,
        runners=runners,
        trouble=", ".join(trouble),
    )


async def _outcome[Result](question: Awaitable[Result]) -> Result | Unreadable:
    try:
        return await question
    except Unreadable as error:
        return error


async def _in_time[Result](question: Awaitable[Result]) -> Result:
    try:
        async with asyncio.timeout(HALF_SECONDS):
            return await question
    except TimeoutError:
        raise Unreadable("timeout") from None


async def _resolve(host: str, port: int, threads: Executor, *, allow_private: bool) -> IpAddress:
    """The address that every connection of this reading goes to, so that a name cannot change its meaning.

    Raises Unreadable.
    """
    written = addresses.ip_of(host)
    found = [written] if written else await _look_up(host, port, threads)
    allowed = [ip for ip in found if allow_private or addresses.is_public(ip)]
    if not allowed:
        raise Unreadable("private_address" if found else "unknown_host")
    return allowed[0]


async def _look_up(host: str, port: int, threads: Executor) -> list[IpAddress]:
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.get_running_loop().run_in_executor(threads, ask)
    except (OSError, UnicodeError):
        raise Unreadable("unknown_host") from None
    return [ip for *_, place in found if (ip := addresses.ip_of(str(place[0]).partition("%")[0]))]


# -- gRPC ----------------------------------------------------------------------------------------------------


async def _ask_info(host: str, port: int, ip: IpAddress, introduction: Introduction | None, threads: Executor) -> Info:
    """GetOrchestrator in the name of our sender. Raises Unreadable."""
    if introduction is None:
        raise Unreadable("sender_unknown")
    certificate, name = await _certificate(host, port, ip)
    target = f"ipv6:[{ip}]:{port}" if ip.version == 6 else f"ipv4:{ip}:{port}"
    try:
        raw = await asyncio.get_running_loop().run_in_executor(
            threads, _get_orchestrator, target, certificate, name, introduction
        )
    except grpc.RpcError as error:
        raise Unreadable(f"grpc_{error.code().name.lower()}") from None
    try:
        return offers.read_info(raw)
    except Nonsense:
        raise Unreadable("grpc_nonsense") from None


def _get_orchestrator(target: str, certificate: bytes, name: str, introduction: Introduction) -> bytes:
    """The answer as it came. In a thread: gRPC's own event loop does not share a process with others."""
    options = [
        ("grpc.ssl_target_name_override", name),
        ("grpc.default_authority", name),
        ("grpc.max_receive_message_length", MOST_BYTES),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]
    request = pb.OrchestratorRequest(
        address=introduction.sender, sig=introduction.signature, ignore_capacity_check=True
    )
    credentials = grpc.ssl_channel_credentials(root_certificates=certificate)
    with grpc.secure_channel(target, credentials, options=options) as channel:
        ask = channel.unary_unary(
            _METHOD, request_serializer=pb.OrchestratorRequest.SerializeToString, response_deserializer=bytes
        )
        answer: bytes = ask(request, timeout=HALF_SECONDS)
    return answer


async def _certificate(host: str, port: int, ip: IpAddress) -> tuple[bytes, str]:
    """The certificate found there and a name it has: orchestrators sign their own, so it is trusted as it is.

    Nothing secret is sent, and nothing that comes back could be believed more if we knew the name.
    """
    server_name = "" if addresses.ip_of(host) else host
    try:
        _, writer = await asyncio.open_connection(str(ip), port, ssl=_any_certificate(), server_hostname=server_name)
    except (OSError, ValueError):
        raise Unreadable("unreachable") from None
    der: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    if not der:
        raise Unreadable("no_certificate")
    return ssl.DER_cert_to_PEM_cert(der).encode(), _name_in(der, host)


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _name_in(der: bytes, host: str) -> str:
    """A name that the certificate is made out to: gRPC insists on one."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = _alternative_names(certificate)
        names += [str(each.value) for each in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return host
    if host in names:
        return host
    sound = [name for name in names if _CERTIFICATE_NAME.fullmatch(name.replace("*", "any", 1))]
    return sound[0].replace("*", "any", 1) if sound else host


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName) + [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]


# -- HTTP ----------------------------------------------------------------------------------------------------


async def _ask_runners(address: str, ip: IpAddress) -> bytes:
    """The body of GET /discovery, b"" from one that has no such page. Raises Unreadable."""
    connector = aiohttp.TCPConnector(ssl=False, resolver=_Pinned(ip), force_close=True)
    status, body = await fetch(address + "/discovery", what="discovery", connector=connector)
    if status == 200 or status in _NO_SUCH_PAGE:
        return body
    raise Unreadable(f"discovery_{status}")


async def fetch(url: str, *, what: str, connector: aiohttp.TCPConnector | None = None) -> tuple[int, bytes]:
    """The status of one GET, redirects not followed, and of a 200 the body of at most a mebibyte.

    Raises Unreadable, its code beginning with `what`; the caller sets a time.
    """
    try:
        async with (
            aiohttp.ClientSession(connector=connector, auto_decompress=False) as session,
            session.get(url, allow_redirects=False, headers=_HEADERS) as response,
        ):
            try:
                return response.status, await _body(response.content, what) if response.status == 200 else b""
            finally:
                # Whoever still has more to say is not waited for.
                if response.connection and response.connection.transport:
                    response.connection.transport.abort()
    except (aiohttp.ClientError, OSError, ValueError):
        raise Unreadable(f"{what}_unreachable") from None


async def _body(content: aiohttp.StreamReader, what: str) -> bytes:
    parts, size = [], 0
    async for part in content.iter_chunked(64 * 1024):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise Unreadable(f"{what}_too_long")
    return b"".join(parts)


class _Pinned(AbstractResolver):
    """Every name is at the one address that was checked."""

    def __init__(self, ip: IpAddress) -> None:
        self._ip = ip

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        family = socket.AF_INET6 if self._ip.version == 6 else socket.AF_INET
        return [ResolveResult(hostname=host, host=str(self._ip), port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is held."""
