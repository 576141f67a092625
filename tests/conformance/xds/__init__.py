"""The rules of xDS as readable scenarios (`features/*.feature`), played over real gRPC against our server and our client; and real clients."""
