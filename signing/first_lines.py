"""What a newcomer copies to make a gateway pay through the signer: one text a client; pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_VIDEO = "live-video-to-video/"
_ANY_MODEL = "noop"  # orchestrators offer it for trials
# Orchestrators call their models what they like, and what stands here is run with the customer's key beside it.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")

_TRY = """\
export CLEARINGHOUSE_KEY=ch_live_…
curl -X POST -H "Authorization: Bearer $CLEARINGHOUSE_KEY" \\
    {signer_url}/sign-orchestrator-info"""

_GO_LIVEPEER = """\
livepeer -gateway -network arbitrum-one-mainnet \\
    -remoteSignerUrl {signer_url} \\
    -remoteSignerHeaders "Authorization:Bearer $CLEARINGHOUSE_KEY\""""

# The SDK pays from a task of the running event loop: a job started outside of one pays its first minute alone.
_PYTHON = """\
import asyncio
import os

from livepeer_gateway import lv2v

KEY = os.environ["CLEARINGHOUSE_KEY"]


async def main() -> None:
    job = lv2v.start_lv2v(
        None,  # the signer names orchestrators
        lv2v.StartJobRequest(model_id="{model}"),
        signer_url="{signer_url}",
        signer_headers={{"Authorization": f"Bearer {{KEY}}"}},
    )
    print("Send video to", job.publish_url)
    await asyncio.sleep(10)  # it pays while video runs
    await job.close()


asyncio.run(main())"""

_JAVASCRIPT = """\
import {{ createGateway }} from "@pymthouse/gateway-web";

const key = process.env.CLEARINGHOUSE_KEY;
const gateway = createGateway({{
  signerUrl: "{signer_url}",
  signerHeaders: {{ Authorization: `Bearer ${{key}}` }},
}});"""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """One text to copy: `what` for a heading, `hint` under it."""

    what: str
    hint: str
    text: str


def for_signer(signer_url: str, works: Iterable[str]) -> list[Lines]:
    """The check of a key first, then a client each; every text takes the key from CLEARINGHOUSE_KEY.

    `works` are what orchestrators offer now, such as `live-video-to-video/noop`.
    """
    models = sorted(work.removeprefix(_VIDEO) for work in works if work.startswith(_VIDEO))
    models = [model for model in models if _PLAIN.fullmatch(model)]
    given = {"signer_url": signer_url, "model": models[0] if models and _ANY_MODEL not in models else _ANY_MODEL}
    texts = [
        ("Try the key", "It answers with the address that signs for you; 401 means a wrong or revoked key.", _TRY),
        ("go-livepeer", "Two values, then restart the gateway.", _GO_LIVEPEER),
        ("Python", "pip install livepeer-gateway. Start jobs inside an event loop: it pays from there.", _PYTHON),
        ("JavaScript", "npm install @pymthouse/gateway-web. Run it on your server, where the key stays.", _JAVASCRIPT),
    ]
    return [Lines(what=what, hint=hint, text=text.format(**given)) for what, hint, text in texts]
