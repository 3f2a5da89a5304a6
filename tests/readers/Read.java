import java.io.IOException;
import java.io.InputStream;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.Properties;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
* Reads one file per case with java.util.Properties, both as bytes and as text, and prints the fields.
 *
 * <pre>java Read.java FORMAT DIRECTORY</pre>
 *
 * FORMAT is `properties`; the file of a case is DIRECTORY/CASE/db.properties. Each line printed is a JSON object: `reader`, `case`, and either
 * `fields`, with values in base64, or `error`. Names of cases and fields need no escapes.
 */
public class Read {
    interface Load {
        void load(Properties into, Path file) throws IOException;
    }

    public static void main(String[] arguments) throws IOException {
        try (Stream<Path> cases = Files.list(Path.of(arguments[1]))) {
            for (Path directory : cases.sorted().collect(Collectors.toList())) {
                print("Properties.load(InputStream)", directory, Read::bytes);
                print("Properties.load(Reader)", directory, Read::text);
            }
        }
    }

    static void bytes(Properties into, Path file) throws IOException {
        try (InputStream stream = Files.newInputStream(file)) {
            into.load(stream);
        }
    }

    static void text(Properties into, Path file) throws IOException {
        try (Reader reader = Files.newBufferedReader(file, StandardCharsets.UTF_8)) {
            into.load(reader);
        }
    }

    static void print(String reader, Path directory, Load load) {
        Properties read = new Properties();
        String result;
        try {
            load.load(read, directory.resolve("db.properties"));
            result = read.stringPropertyNames().stream()
                .map(name -> quoted(name) + ":" + quoted(encoded(read.getProperty(name))))
                .collect(Collectors.joining(",", "\"fields\":{", "}"));
        } catch (IOException | IllegalArgumentException error) {
            result = "\"error\":" + quoted(error.getClass().getName());
        }
        String names = "\"reader\":" + quoted(reader) + ",\"case\":" + quoted(directory.getFileName().toString());
        System.out.println("{" + names + "," + result + "}");
    }

    static String encoded(String value) {
        return Base64.getEncoder().encodeToString(value.getBytes(StandardCharsets.UTF_8));
    }

    static String quoted(String plain) {
        return '"' + plain + '"';
    }
}
