"""`python -m sandbox.chain --port P --dir DIR`: start the sandbox chain, or go on with the one in DIR."""

import argparse
import sys
from pathlib import Path

from sandbox.chain.deployment import Genesis
from sandbox.chain.rpc import Options
from sandbox.chain.server import DifferentChain, FolderInUse, Service, serve


def main() -> int:
    arguments = _parser().parse_args()
    service = Service(
        folder=arguments.dir,
        port=arguments.port,
        block_seconds=arguments.block_seconds,
        feed_refresh_seconds=arguments.feed_refresh_seconds,
        genesis=Genesis(
            chain_id=arguments.chain_id,
            round_length_blocks=arguments.round_length,
            first_round=arguments.first_round,
            eth_usd_answer=arguments.eth_usd_answer,
            pool_size=arguments.pool_size,
            settled_depth_blocks=arguments.finalized_depth,
        ),
        options=Options(
            safe_depth_blocks=arguments.safe_depth,
            finalized_depth_blocks=arguments.finalized_depth,
            max_log_range_blocks=arguments.max_log_range,
        ),
    )
    try:
        serve(service)
    except (FolderInUse, DifferentChain, OSError) as error:
        print(f"sandbox chain: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    genesis, options = Genesis(), Options()
    parser = argparse.ArgumentParser(prog="python -m sandbox.chain", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="folder that keeps the chain")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--block-seconds", type=float, default=1.0, help="0: a block per transaction, no clock")
    parser.add_argument("--feed-refresh-seconds", type=int, default=60, help="the price feed's heartbeat")
    parser.add_argument("--safe-depth", type=int, default=options.safe_depth_blocks, help="blocks behind latest")
    parser.add_argument("--finalized-depth", type=int, default=options.finalized_depth_blocks)
    parser.add_argument("--max-log-range", type=int, default=0, help="blocks per eth_getLogs; 0: no limit")
    first = parser.add_argument_group("read at the first start of a folder only")
    first.add_argument("--chain-id", type=int, default=genesis.chain_id)
    first.add_argument("--round-length", type=int, default=genesis.round_length_blocks, help="in blocks")
    first.add_argument("--first-round", type=int, default=genesis.first_round)
    first.add_argument("--eth-usd-answer", type=int, default=genesis.eth_usd_answer, help="with 8 decimals")
    first.add_argument("--pool-size", type=int, default=0, help="reported size; 0: the members' number")
    return parser


if __name__ == "__main__":
    sys.exit(main())
