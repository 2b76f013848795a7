"""The gRPC half of the door: net.Orchestrator/GetOrchestrator and Ping on a loopback port."""

import grpc
import grpc.aio

from sandbox.orchestrator.chain import ChainUnavailable
from sandbox.orchestrator.node import LIVE_VIDEO_TO_VIDEO, Node
from sandbox.orchestrator.params import InsufficientSenderReserve
from signing.pm import livepeer_pb2 as pb


async def serve_grpc(node: Node) -> tuple[grpc.aio.Server, int]:
    """The started server and its port."""

    async def get_orchestrator(
        request: pb.OrchestratorRequest,
        context: "grpc.aio.ServicerContext[pb.OrchestratorRequest, pb.OrchestratorInfo]",
    ) -> pb.OrchestratorInfo:
        if not node.signed_request(request):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "authentication failed")
        wanted = "live-video-to-video" if _wants_live_video(request.capabilities) else "transcoding"
        session = node.sessions.offer(node.offers[wanted], request.address)
        try:
            return await node.info(session)
        except InsufficientSenderReserve as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        except ChainUnavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        raise AssertionError("abort raises")

    async def ping(request: pb.PingPong, context: "grpc.aio.ServicerContext[pb.PingPong, pb.PingPong]") -> pb.PingPong:
        return request

    methods = {
        "GetOrchestrator": grpc.unary_unary_rpc_method_handler(
            get_orchestrator,
            request_deserializer=pb.OrchestratorRequest.FromString,
            response_serializer=pb.OrchestratorInfo.SerializeToString,
        ),
        "Ping": grpc.unary_unary_rpc_method_handler(
            ping,
            request_deserializer=pb.PingPong.FromString,
            response_serializer=pb.PingPong.SerializeToString,
        ),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("net.Orchestrator", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


def _wants_live_video(capabilities: pb.Capabilities) -> bool:
    words = capabilities.bitstring
    in_bits = len(words) > 0 and bool(words[0] >> LIVE_VIDEO_TO_VIDEO & 1)
    return in_bits or LIVE_VIDEO_TO_VIDEO in capabilities.capacities
