"""gRPC's own xDS client: calls `xds:///shop` once for each line it is given, and prints who answered. Its bootstrap is in the environment."""

import sys

import grpc


def main() -> None:
    channel = grpc.insecure_channel("xds:///shop")
    call = channel.unary_unary("/test.Who/Answers", request_serializer=bytes, response_deserializer=bytes)
    for _ in sys.stdin:
        try:
            print(call(b"", timeout=20, wait_for_ready=True).decode(), flush=True)
        except grpc.RpcError as error:
            print(f"{error.code().name} {error.details()}", flush=True)


if __name__ == "__main__":
    main()
