"""The HTTP half of the door: starting work, paying for it, calling runners, and the status page."""

import base64
import secrets
from collections.abc import Awaitable, Callable
from fractions import Fraction

from aiohttp import web

from sandbox.orchestrator.chain import ChainUnavailable
from sandbox.orchestrator.node import Node, Paid, Refused
from sandbox.orchestrator.params import InsufficientSenderReserve
from sandbox.orchestrator.sessions import Session
from sandbox.orchestrator.terms import CAPTION_APP, LIVE_APP, RESTYLE_APP, Offer

_RUNNERS = {"camera": LIVE_APP, "restyle": RESTYLE_APP, "caption": CAPTION_APP}
_MAX_BODY_BYTES = 16 * 2**20
_MAX_HEADER_BYTES = 2**20  # a payment of a hundred tickets is a header of ten kilobytes


async def serve_http(node: Node) -> tuple[web.AppRunner, int]:
    """The started server and its port."""
    application = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_answer_refusals])
    doors = HttpDoors(node)
    application.add_routes(doors.routes() + node.trickle.routes())
    runner = web.AppRunner(
        application,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=1.0,
        max_field_size=_MAX_HEADER_BYTES,
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port: int = runner.addresses[0][1]
    return runner, port


@web.middleware
async def _answer_refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return _error(refused.status, refused.code, str(refused))
    except InsufficientSenderReserve as error:
        return _error(400, "insufficient_sender_reserve", str(error))
    except ChainUnavailable as error:
        return _error(503, "chain_unavailable", str(error))


class HttpDoors:
    """One method per endpoint; what it means is decided in the node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/sandbox/status", self._status),
            web.get("/discovery", self._discovery),
            web.post("/live-video-to-video", self._start_live_video),
            web.post("/payment", self._payment),
            web.post("/segment", self._segment),
            web.post("/refresh-payment", self._refresh_payment),
            web.post("/runner/{runner}/app{slash:/?}", self._call_single_shot),
            web.post("/runner/{runner}/session", self._reserve),
            web.post("/runner/{runner}/session/{session}/payment", self._session_payment),
            web.post("/runner/{runner}/session/{session}/app{path:(/.*)?}", self._call_session),
            web.post("/runner/{runner}/session/{session}/stop", self._stop_session),
        ]

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self._node.status())

    async def _discovery(self, request: web.Request) -> web.Response:
        runners = [self._runner(name, self._node.offers[app]) for name, app in _RUNNERS.items()]
        return web.json_response([{"address": self._node.service_uri, "score": 1, "runners": runners}])

    def _runner(self, name: str, offer: Offer) -> dict[str, object]:
        single_shot = offer.unit == "fixed"
        return {
            "url": f"{self._node.service_uri}/runner/{name}/" + ("app" if single_shot else "session"),
            "app": offer.app,
            "runner_id": name,
            "mode": "single-shot" if single_shot else "persistent",
            "capacity": 100,
            "capacity_used": 0,
            "capacity_available": 100,
            "price_info": {"price": offer.price.per_unit_wei, "currency": "wei", "unit": offer.unit},
        }

    async def _start_live_video(self, request: web.Request) -> web.Response:
        """The start call books on a manifest id of its own, whatever the credentials say."""
        node, manifest_id = self._node, secrets.token_hex(8)
        paid = await node.take_payment(request.headers, manifest_id=manifest_id)
        offer = node.offers["live-video-to-video"]
        node.require_credit(paid.sender, manifest_id, Fraction(offer.ticket_ev_wei))
        node.sessions.open(node.sessions.offer(offer, paid.sender, manifest_id))
        urls = node.trickle.open_session(manifest_id, node.service_uri)
        return web.json_response(
            {
                "manifest_id": manifest_id,
                "publish_url": urls["in"],
                "subscribe_url": urls["out"],
                "control_url": urls["control"],
                "events_url": urls["events"],
            }
        )

    async def _payment(self, request: web.Request) -> web.Response:
        return _payment_result(await self._node.take_payment(request.headers))

    async def _segment(self, request: web.Request) -> web.Response:
        """A segment to transcode; `?pixels=` stands for what a decoder would count.

        A segment without payment lives on earlier credit. The answer carries new ticket parameters.
        """
        node = self._node
        paid: Paid | None = None
        session = self._named_session(request)
        if request.headers.get("Livepeer-Payment"):
            paid = await node.take_payment(request.headers, manifest_id=session.session_id)
        else:
            node.credentials(request.headers, session.sender)
        node.require_credit(session.sender, session.session_id, Fraction(session.offer.ticket_ev_wei))
        node.sessions.open(session)
        pixels = int(request.query.get("pixels", "0"))
        if not node.sessions.debit(session, pixels * session.offer.price.ratio):
            raise Refused(400, "insufficient_balance", "Insufficient balance")
        node.sessions.touch(session)
        return _payment_result(paid) if paid else web.Response()

    async def _refresh_payment(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        session = self._node.sessions.find(str(wanted.get("manifest_id", "")))
        sender = str(wanted.get("sender", "")).lower()
        if session is None or session.state == "closed" or "0x" + session.sender.hex() != sender:
            raise Refused(409, "unknown_session", "no such session")
        return await self._terms_of_payment(session, status=200)

    async def _reserve(self, request: web.Request) -> web.Response:
        offer = self._offer(request)
        if not request.headers.get("Livepeer-Payment"):
            return await self._challenge(request, offer)
        session = await self._pay_runner(request)
        node, base = self._node, self._session_url(session)
        node.require_credit(session.sender, session.session_id, Fraction(session.offer.ticket_ev_wei))
        node.sessions.open(session)
        return web.json_response({"session_id": session.session_id, "app_url": base + "/app", "control_url": base})

    async def _call_single_shot(self, request: web.Request) -> web.Response:
        """One paid request, one answer: the price is taken and the session is over."""
        offer = self._offer(request)
        if not request.headers.get("Livepeer-Payment"):
            return await self._challenge(request, offer)
        session = await self._pay_runner(request)
        if not self._node.sessions.debit(session, offer.price.ratio):
            raise Refused(400, "insufficient_balance", "Insufficient balance")
        self._node.sessions.open(session)
        self._node.sessions.close(session.session_id, "done")
        return web.json_response({"session_id": session.session_id, "caption": "a cat on a windowsill"})

    async def _session_payment(self, request: web.Request) -> web.Response:
        session = self._open_session(request)
        if session.offer.unit == "fixed":
            raise Refused(409, "fixed_price", "a fixed price is paid once")
        return _payment_result(await self._node.take_payment(request.headers, runner_session=session.session_id))

    async def _call_session(self, request: web.Request) -> web.Response:
        session = self._open_session(request)
        size = len(await request.read())
        return web.json_response({"session_id": session.session_id, "bytes": size})

    async def _stop_session(self, request: web.Request) -> web.Response:
        session = self._open_session(request)
        self._node.sessions.close(session.session_id, "stopped by the client")
        return web.json_response({})

    async def _pay_runner(self, request: web.Request) -> Session:
        """The offered session that the credentials name, after its payment was taken."""
        session = self._named_session(request)
        if session.state != "offered":
            raise Refused(409, "session_in_use", "the session was started before")
        await self._node.take_payment(request.headers, runner_session=session.session_id)
        return session

    async def _challenge(self, request: web.Request, offer: Offer) -> web.Response:
        """402: what to pay, and where. The caller names the address that will pay."""
        try:
            sender = bytes.fromhex(request.headers.get("Livepeer-Payer-Address", "").removeprefix("0x"))
        except ValueError:
            sender = b""
        if len(sender) != 20:
            raise Refused(400, "no_payer", "header Livepeer-Payer-Address is required")
        return await self._terms_of_payment(self._node.sessions.offer(offer, sender), status=402)

    async def _terms_of_payment(self, session: Session, *, status: int) -> web.Response:
        info = await self._node.info(session)
        answer = {
            "payment_params": base64.b64encode(info.SerializeToString()).decode(),
            "orchestrator": self._node.service_uri,
            "manifest_id": session.session_id,
            "payment_url": self._session_url(session) + "/payment",
        }
        return web.json_response(answer, status=status)

    def _offer(self, request: web.Request) -> Offer:
        app = _RUNNERS.get(request.match_info["runner"])
        if app is None:
            raise Refused(404, "unknown_runner", "no such runner")
        return self._node.offers[app]

    def _session_url(self, session: Session) -> str:
        runner = next(name for name, app in _RUNNERS.items() if app == session.offer.app)
        return f"{self._node.service_uri}/runner/{runner}/session/{session.session_id}"

    def _open_session(self, request: web.Request) -> Session:
        session = self._node.sessions.find(request.match_info["session"])
        if session is None or session.state != "open":
            raise Refused(404, "session_gone", "session not found")
        return session

    def _named_session(self, request: web.Request) -> Session:
        """The session in the auth token; nothing is verified yet."""
        session = self._node.sessions.find(self._node.session_id_in(request.headers))
        if session is None:
            raise Refused(403, "auth_token", "invalid auth token")
        return session


def _payment_result(paid: Paid) -> web.Response:
    return web.Response(body=paid.result.SerializeToString(), content_type="application/octet-stream")


def _error(status: int, code: str, text: str) -> web.Response:
    return web.json_response({"error": {"message": text, "code": code}}, status=status)
