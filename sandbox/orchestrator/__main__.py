"""Start one: python -m sandbox.orchestrator --port P --dir DIR --rpc-url URL --controller 0x.. --key 0x.."""

import argparse
import asyncio
import os
import signal
from pathlib import Path

from sandbox.orchestrator import terms
from sandbox.orchestrator.chain import EthereumChain
from sandbox.orchestrator.node import Node
from sandbox.orchestrator.server import serve
from sandbox.orchestrator.signatures import checksum


def main() -> None:
    parser = argparse.ArgumentParser(prog="sandbox.orchestrator")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="certificate and winning tickets are kept here")
    parser.add_argument("--rpc-url", required=True)
    parser.add_argument("--controller", required=True)
    parser.add_argument("--key", default="", help="private key of the recipient; or set ORCHESTRATOR_KEY")
    parser.add_argument("--service-uri", default="", help="default https://127.0.0.1:PORT")
    terms.add_arguments(parser)
    asyncio.run(_run(parser.parse_args()))


async def _run(arguments: argparse.Namespace) -> None:
    key = arguments.key or os.environ["ORCHESTRATOR_KEY"]
    chain = EthereumChain(arguments.rpc_url, arguments.controller, key)
    arguments.dir.mkdir(parents=True, exist_ok=True)
    node = Node(
        address=chain.address,
        chain=chain,
        service_uri=arguments.service_uri or f"https://127.0.0.1:{arguments.port}",
        directory=arguments.dir,
        terms=terms.from_arguments(arguments),
    )
    ready, stop = asyncio.Event(), asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    print(f"orchestrator: {node.service_uri} recipient {checksum(node.address)}", flush=True)
    await serve(node, arguments.dir, arguments.port, ready=ready, stop=stop)


main()
