import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's own tools one after the other in one virtual machine, which spares a start of it for each. A line of the file is one run: what it
 * reads from standard input, its main class, its arguments, with tabs between; line breaks of the input are written \n.
 */
public class Tools {
    private static class Exited extends RuntimeException {
        final int code;

        Exited(int code) {
            this.code = code;
        }
    }

    public static void main(String[] words) throws Exception {
        Exit.setExitProcedure((code, message) -> {
            throw new Exited(code);
        });
        Exit.setHaltProcedure((code, message) -> {
            throw new Exited(code);
        });
        PrintStream out = System.out;
        for (String line : Files.readAllLines(Path.of(words[0]))) {
            String[] run = line.split("\t");
            out.println("\u0001" + run[1].substring(run[1].lastIndexOf('.') + 1));
            ByteArrayOutputStream printed = new ByteArrayOutputStream();
            System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
            System.setErr(System.out);
            System.setIn(new ByteArrayInputStream(run[0].replace("\\n", "\n").getBytes(StandardCharsets.UTF_8)));
            int code = run(run[1], Arrays.copyOfRange(run, 2, run.length));
            end();
            out.write(printed.toByteArray());
            out.println("exit " + code);
            out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    /** Does what the tool wants to be done when its virtual machine ends: some close their clients then, and say what became of their records. */
    @SuppressWarnings("unchecked")
    private static void end() throws Exception {
        Field field = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
        field.setAccessible(true);
        for (Thread hook : List.copyOf(((Map<Thread, Thread>) field.get(null)).keySet())) {
            Runtime.getRuntime().removeShutdownHook(hook);
            hook.run();
        }
    }

    private static int run(String main, String[] arguments) throws Exception {
        try {
            Class.forName(main).getMethod("main", String[].class).invoke(null, (Object) arguments);
            return 0;
        } catch (InvocationTargetException thrown) {
            Throwable cause = thrown.getCause();
            while (cause != null && !(cause instanceof Exited)) {
                cause = cause.getCause();
            }
            if (cause == null) {
                thrown.getCause().printStackTrace();
                return -1;
            }
            return ((Exited) cause).code;
        }
    }
}
