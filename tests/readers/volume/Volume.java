import io.smallrye.config.source.file.FileSystemConfigSource;
import java.io.IOException;
import java.nio.file.FileVisitOption;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.springframework.cloud.bindings.Binding;
import org.springframework.cloud.bindings.Bindings;

/**
* Prints the files that Java's directory walks and libraries find.
 *
 * <pre>java -cp 'JARS/*' Volume.java walks|bindings DIRECTORY…</pre>
 *
 * Each line printed is a JSON object: `reader`, `directory`, and either `files`, with the text of each, or `error`. A walk's `files` are the entries that it does not treat as directories.
 */
public class Volume {
    interface Reader {
        Map<String, String> read(Path directory) throws Exception;
    }

    public static void main(String[] arguments) {
        for (int i = 1; i < arguments.length; i++) {
            Path directory = Path.of(arguments[i]);
            if (arguments[0].equals("bindings")) {
                print("spring-cloud-bindings", directory, Volume::bindings);
            } else {
                print("Files.walk", directory, Volume::walk);
                print("Files.walk, links followed", directory, at -> walk(at, FileVisitOption.FOLLOW_LINKS));
                print("SmallRye", directory, at -> new FileSystemConfigSource(at.toString()).getProperties());
            }
        }
    }

    static Map<String, String> walk(Path directory, FileVisitOption... options) throws IOException {
        LinkOption[] links = options.length == 0 ? new LinkOption[] {LinkOption.NOFOLLOW_LINKS} : new LinkOption[0];
        Map<String, String> files = new TreeMap<>();
        try (Stream<Path> found = Files.walk(directory, options)) {
            for (Path path : found.collect(Collectors.toList())) {
                if (!Files.isDirectory(path, links)) {
                    String text = Files.isRegularFile(path) ? Files.readString(path) : "";
                    files.put(directory.relativize(path).toString(), text);
                }
            }
        }
        return files;
    }

    static Map<String, String> bindings(Path root) {
        Map<String, String> files = new TreeMap<>();
        for (Binding binding : new Bindings(root.toString()).getBindings()) {
            files.put(binding.getName() + "/type", binding.getType());
            binding.getSecret().forEach((name, text) -> files.put(binding.getName() + "/" + name, text));
        }
        return files;
    }

    static void print(String reader, Path directory, Reader read) {
        String result;
        try {
            String files = read.read(directory).entrySet().stream()
                    .map(file -> quoted(file.getKey()) + ":" + quoted(file.getValue()))
                    .collect(Collectors.joining(","));
            result = "\"files\":{" + files + "}";
        } catch (Exception error) {
            result = "\"error\":" + quoted(error.toString());
        }
        System.out.printf("{\"reader\":%s,\"directory\":%s,%s}%n", quoted(reader), quoted(directory.toString()), result);
    }

    static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + '"';
    }
}
