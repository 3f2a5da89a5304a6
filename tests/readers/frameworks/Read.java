import io.micronaut.context.env.DefaultEnvironment;
import io.quarkus.runtime.configuration.StaticInitConfigBuilder;
import io.smallrye.config.EnvConfigSource;
import io.smallrye.config.SmallRyeConfig;
import io.smallrye.config.SmallRyeConfigBuilder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.springframework.boot.Banner;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.jdbc.DataSourceProperties;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.context.ConfigurableApplicationContext;

/**
 * Starts the configuration of one application per case, and prints the credentials of its data source.
 *
 * <pre>java -cp 'JARS/*' Read.java spring|quarkus|micronaut DIRECTORY</pre>
 *
 * The block of the page is DIRECTORY/CASE/0.properties, DIRECTORY/CASE/env or DIRECTORY/CASE/command. Each line printed is a JSON object:
 * `reader`, `case`, and either `fields`, with values in base64, or `error`.
 */
public class Read {
    interface Reader {
        List<String> read(Path directory) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("org.springframework.boot.logging.LoggingSystem", "none");
        Map<String, Reader> readers = Map.of("spring", Read::spring, "quarkus", Read::quarkus, "micronaut", Read::micronaut);
        try (Stream<Path> cases = Files.list(Path.of(arguments[1]))) {
            for (Path directory : cases.sorted().collect(Collectors.toList())) {
                print(arguments[0], readers.get(arguments[0]), directory);
            }
        }
    }

    @EnableConfigurationProperties(DataSourceProperties.class)
    static class Application {}

    static List<String> spring(Path directory) throws Exception {
        Path properties = directory.resolve("application.properties");
        Files.copy(directory.resolve("0.properties"), properties);
        try (ConfigurableApplicationContext context =
                new SpringApplicationBuilder(Application.class)
                        .bannerMode(Banner.Mode.OFF)
                        .web(WebApplicationType.NONE)
                        .run("--spring.config.location=file:" + properties)) {
            DataSourceProperties found = context.getBean(DataSourceProperties.class);
            return List.of(found.getUsername(), found.getPassword());
        }
    }

    static List<String> quarkus(Path directory) throws Exception {
        Map<String, String> environment =
                Files.readAllLines(directory.resolve("env")).stream()
                        .collect(Collectors.toMap(line -> line.split("=", 2)[0], line -> line.split("=", 2)[1]));
        SmallRyeConfigBuilder builder = new SmallRyeConfigBuilder();
        new StaticInitConfigBuilder().configBuilder(builder);
        builder.addDiscoveredSources();
        SmallRyeConfig config = builder.withSources(new EnvConfigSource(environment, 300)).build();
        return List.of(
                config.getValue("quarkus.datasource.username", String.class),
                // An empty value is a missing one.
                config.getOptionalValue("quarkus.datasource.password", String.class).orElse(""));
    }

    static List<String> micronaut(Path directory) throws Exception {
        Matcher option = Pattern.compile("(?m)^-D([^=]+)=(.+)$").matcher(Files.readString(directory.resolve("command")));
        if (!option.find()) throw new IllegalArgumentException("no system property in the command");
        System.setProperty(option.group(1), option.group(2));
        try (DefaultEnvironment environment = new DefaultEnvironment(List::of)) {
            environment.start();
            return List.of(
                    environment.getRequiredProperty("datasources.default.username", String.class),
                    environment.getRequiredProperty("datasources.default.password", String.class));
        }
    }

    static void print(String name, Reader reader, Path directory) {
        String result;
        try {
            List<String> values = reader.read(directory);
            result = "\"fields\":{\"username\":" + encoded(values.get(0)) + ",\"password\":" + encoded(values.get(1)) + "}";
        } catch (Throwable error) {
            String text = String.valueOf(error).replaceAll("[^ -~]|[\"\\\\]", "?");
            result = "\"error\":" + quoted(text);
        }
        System.out.println("{\"reader\":" + quoted(name) + ",\"case\":" + quoted(directory.getFileName().toString()) + "," + result + "}");
    }

    static String encoded(String text) {
        return quoted(Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8)));
    }

    static String quoted(String plain) {
        return '"' + plain + '"';
    }
}
