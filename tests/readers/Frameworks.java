import io.micronaut.context.env.DefaultEnvironment;
import io.smallrye.config.PropertiesConfigSource;
import io.smallrye.config.SmallRyeConfigBuilder;
import io.smallrye.config.source.file.FileSystemConfigSource;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.commons.configuration2.PropertiesConfiguration;
import org.eclipse.microprofile.config.spi.ConfigSource;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.boot.env.ConfigTreePropertySource;
import org.springframework.boot.env.PropertiesPropertySourceLoader;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.support.PropertySourcesPlaceholderConfigurer;
import org.springframework.core.env.PropertySource;
import org.springframework.core.env.StandardEnvironment;
import org.springframework.core.io.FileSystemResource;

/**
 * Reads the property `value` of one file per case as Java's frameworks do, and prints it.
 *
 * <pre>java -cp 'JARS/*' Frameworks.java properties|files DIRECTORY</pre>
 *
 * The file of a case is DIRECTORY/CASE/db.properties, or DIRECTORY/CASE/db/value. Each line printed is a JSON object: `reader`, `case`, and either
 * `fields`, with the value in base64, or `error`.
 */
public class Frameworks {
    static final String NAME = "value";
    static final String EXPRESSIONS = "mp.config.property.expressions.enabled";

    interface Read {
        String read(Path file) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Read> readers = arguments[0].equals("files") ? files() : properties();
        try (Stream<Path> cases = Files.list(Path.of(arguments[1]))) {
            for (Path directory : cases.sorted().collect(Collectors.toList())) {
                readers.forEach((name, reader) -> print(name, reader, directory));
            }
        }
    }

    static Map<String, Read> properties() {
        Map<String, Read> readers = new LinkedHashMap<>();
        readers.put("Spring Boot", file -> bound(spring(file)));
        readers.put("SmallRye", file -> smallrye(new PropertiesConfigSource(file.toUri().toURL()), true));
        readers.put("SmallRye without expressions", file -> smallrye(new PropertiesConfigSource(file.toUri().toURL()), false));
        readers.put("Micronaut", Frameworks::micronaut);
        readers.put("commons-configuration2", file -> commons(file).getString(NAME));
        readers.put("commons-configuration2, getProperty", file -> (String) commons(file).getProperty(NAME));
        return readers;
    }

    static Map<String, Read> files() {
        Map<String, Read> readers = new LinkedHashMap<>();
        readers.put("Spring Boot, bound", file -> bound(tree(file)));
        readers.put("Spring Boot, @Value", file -> injected(tree(file)));
        readers.put("SmallRye", file -> smallrye(new FileSystemConfigSource(file.toString()), true));
        readers.put("SmallRye without expressions", file -> smallrye(new FileSystemConfigSource(file.toString()), false));
        return readers;
    }

    static PropertySource<?> spring(Path file) throws Exception {
        return new PropertiesPropertySourceLoader().load("db", new FileSystemResource(file)).get(0);
    }

    static PropertySource<?> tree(Path directory) {
        return new ConfigTreePropertySource("db", directory, ConfigTreePropertySource.Option.AUTO_TRIM_TRAILING_NEW_LINE);
    }

    static StandardEnvironment environment(PropertySource<?> source) {
        StandardEnvironment environment = new StandardEnvironment();
        environment.getPropertySources().addFirst(source);
        return environment;
    }

    /** Binds the property, as @ConfigurationProperties does. */
    static String bound(PropertySource<?> source) {
        return Binder.get(environment(source)).bind(NAME, String.class).get();
    }

    static class Injected {
        @Value("${" + NAME + "}")
        String value;
    }

    static String injected(PropertySource<?> source) {
        try (AnnotationConfigApplicationContext context = new AnnotationConfigApplicationContext()) {
            context.setEnvironment(environment(source));
            context.registerBean(PropertySourcesPlaceholderConfigurer.class);
            context.registerBean(Injected.class);
            context.refresh();
            return context.getBean(Injected.class).value;
        }
    }

    static String smallrye(ConfigSource source, boolean expressions) {
        return new SmallRyeConfigBuilder()
                .addDefaultInterceptors()
                .withSources(source)
                .withDefaultValue(EXPRESSIONS, Boolean.toString(expressions))
                .build()
                .getConfigValue(NAME)
                .getValue();
    }

    static String micronaut(Path file) throws Exception {
        Properties read = new Properties();
        try (Reader reader = Files.newBufferedReader(file)) {
            read.load(reader);
        }
        Map<String, Object> values = new HashMap<>();
        read.forEach((name, value) -> values.put((String) name, value));
        try (DefaultEnvironment environment = new DefaultEnvironment(List::of)) {
            environment.addPropertySource(io.micronaut.context.env.PropertySource.of("db", values));
            return environment.start().getProperty(NAME, String.class).get();
        }
    }

    static PropertiesConfiguration commons(Path file) throws Exception {
        PropertiesConfiguration configuration = new PropertiesConfiguration();
        try (Reader reader = Files.newBufferedReader(file)) {
            configuration.read(reader);
        }
        return configuration;
    }

    static void print(String name, Read reader, Path directory) {
        String result;
        try {
            Path properties = directory.resolve("db.properties");
            String value = reader.read(Files.exists(properties) ? properties : directory.resolve("db"));
            byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
            result = "\"fields\":{" + quoted(NAME) + ":" + quoted(Base64.getEncoder().encodeToString(bytes)) + "}";
        } catch (Exception error) {
            result = "\"error\":" + quoted(error.getClass().getName());
        }
        String names = "\"reader\":" + quoted(name) + ",\"case\":" + quoted(directory.getFileName().toString());
        System.out.println("{" + names + "," + result + "}");
    }

    static String quoted(String plain) {
        return '"' + plain + '"';
    }
}
