import io.lettuce.core.RedisClient;
import io.lettuce.core.ScanIterator;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.params.ScanParams;

/** What ordinary Jedis and lettuce clients see. */
public class Clients {
    public static void main(String[] arguments) {
        int port = Integer.parseInt(arguments[0]);
        jedis(port);
        lettuce(port);
    }

    private static void show(String name, Object value) {
        System.out.println(name + " " + value);
    }

    private static void jedis(int port) {
        try (Jedis client = new Jedis("127.0.0.1", port)) {
            client.flushAll();
            show("set", client.set("a", "1"));
            show("mset", client.mset("b", "2", "c", "3"));
            show("mget", client.mget("a", "b", "c", "none"));
            var pipeline = client.pipelined();
            pipeline.incr("a");
            pipeline.get("b");
            pipeline.hset("h", "f", "v");
            pipeline.hgetAll("h");
            show("pipeline", pipeline.syncAndReturnAll());
            var transaction = client.multi();
            transaction.incr("{t}x");
            transaction.get("{t}x");
            show("multi", transaction.exec());
            show("eval", client.eval("return redis.call('get', KEYS[1]) .. ARGV[1]", List.of("c"), List.of("!")));
            client.sadd("s1", "x", "y");
            client.sadd("s2", "y", "z");
            show("sinter", client.sinter("s1", "s2"));
            var keys = new TreeSet<String>();
            String cursor = ScanParams.SCAN_POINTER_START;
            do {
                var page = client.scan(cursor);
                keys.addAll(page.getResult());
                cursor = page.getCursor();
            } while (!cursor.equals(ScanParams.SCAN_POINTER_START));
            show("scan", keys);
            client.rpush("list", "pushed");
            show("blpop", client.blpop(5, "list", "other"));
            try {
                client.lpush("a", "x");
            } catch (RuntimeException error) {
                show("error", error.getMessage());
            }
        }
    }

    private static void lettuce(int port) {
        var client = RedisClient.create("redis://127.0.0.1:" + port);
        try (var connection = client.connect()) {
            var commands = connection.sync();
            commands.flushall();
            show("set", commands.set("a", "1"));
            show("mset", commands.mset(Map.of("b", "2", "c", "3")));
            show("mget", commands.mget("a", "b", "c", "none"));
            commands.multi();
            commands.incr("{t}x");
            commands.get("{t}x");
            show("multi", commands.exec().stream().toList());
            commands.sadd("s1", "x", "y");
            commands.sadd("s2", "y", "z");
            show("sunion", new TreeSet<>(commands.sunion("s1", "s2")));
            var keys = new TreeSet<String>();
            ScanIterator.scan(commands).forEachRemaining(keys::add);
            show("scan", keys);
            commands.rpush("list", "pushed");
            show("blpop", commands.blpop(5, "list", "other"));
        } finally {
            client.shutdown();
        }
    }
}
