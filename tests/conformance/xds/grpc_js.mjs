// grpc-js with its xDS plugin: calls `xds:///shop` once for each line it is given, and prints who answered. Its bootstrap is in the environment.
import * as readline from "node:readline";
import grpc from "@grpc/grpc-js";
import xds from "@grpc/grpc-js-xds";

xds.register();
const bytes = (value) => value;
const client = new grpc.Client("xds:///shop", grpc.credentials.createInsecure());
for await (const _ of readline.createInterface({ input: process.stdin })) {
  await new Promise((done) => {
    const options = { deadline: Date.now() + 20_000 };
    client.makeUnaryRequest("/test.Who/Answers", bytes, bytes, Buffer.alloc(0), new grpc.Metadata({ waitForReady: true }), options, (error, answer) => {
      console.log(error ? `${error.code} ${error.details}` : answer.toString());
      done();
    });
  });
}
client.close();
