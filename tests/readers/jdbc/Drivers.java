import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.logging.Logger;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Parses JDBC URLs with the parsers of their drivers, without a connection.
 *
 * <pre>
 * java -cp JARS Drivers.java names ENGINE             the driver's properties and their synonyms, one on each line
 * java -cp JARS Drivers.java jdbc-ENGINE DIRECTORY    reads DIRECTORY/CASE/db.jdbc
 * </pre>
 *
 * For each case it prints a line of JSON as Read.java does, with the fields under podcreds' names.
 */
public class Drivers {
    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("names")) {
            names(arguments[1]).forEach(System.out::println);
            return;
        }
        String engine = arguments[0].substring("jdbc-".length());
        try (Stream<Path> cases = Files.list(Path.of(arguments[1]))) {
            for (Path directory : cases.sorted().collect(Collectors.toList())) {
                String result;
                try {
                    String url = Files.readString(directory.resolve("db.jdbc"), StandardCharsets.UTF_8);
                    result = read(engine, url).entrySet().stream()
                        .map(field -> quoted(field.getKey()) + ":" + quoted(encoded(field.getValue())))
                        .collect(Collectors.joining(",", "\"fields\":{", "}"));
                } catch (ReflectiveOperationException | RuntimeException error) {
                    Throwable cause = error.getCause() == null ? error : error.getCause();
                    result = "\"error\":" + quoted(cause.getClass().getName());
                }
                System.out.println("{\"reader\":\"the driver\",\"case\":" + quoted(directory.getFileName().toString()) + "," + result + "}");
            }
        }
    }

    static Map<String, String> read(String engine, String url) throws ReflectiveOperationException {
        switch (engine) {
            case "postgresql": {
                Object properties = method("org.postgresql.Driver", "parseURL", String.class, Properties.class).invoke(null, url, null);
                return fields((Properties) properties, "PGHOST", "PGPORT", "PGDBNAME");
            }
            case "mysql": {
                Class<?> type = Class.forName("com.mysql.cj.conf.ConnectionUrl");
                Object parsed = type.getMethod("getConnectionUrlInstance", String.class, Properties.class).invoke(null, url, new Properties());
                Object host = type.getMethod("getMainHost").invoke(parsed);
                Map<String, String> fields = new TreeMap<>();
                Map<?, ?> options = (Map<?, ?>) host.getClass().getMethod("getHostProperties").invoke(host);
                options.forEach((name, value) -> fields.put(name.toString(), String.valueOf(value)));
                fields.remove("dbname");
                for (String[] part : new String[][] {{"host", "getHost"}, {"port", "getPort"}, {"username", "getUser"}, {"password", "getPassword"}, {"database", "getDatabase"}}) {
                    put(fields, part[0], host.getClass().getMethod(part[1]).invoke(host));
                }
                return fields;
            }
            case "mariadb": {
                Class<?> type = Class.forName("org.mariadb.jdbc.Configuration");
                Object parsed = type.getMethod("parse", String.class).invoke(null, url);
                Object host = ((List<?>) type.getMethod("addresses").invoke(parsed)).get(0);
                Map<String, String> fields = new TreeMap<>();
                Properties options = (Properties) type.getMethod("nonMappedOptions").invoke(parsed);
                options.stringPropertyNames().forEach(name -> fields.put(name, options.getProperty(name)));
                put(fields, "host", host.getClass().getField("host").get(host));
                put(fields, "port", host.getClass().getField("port").get(host));
                for (String[] part : new String[][] {{"username", "user"}, {"password", "password"}, {"database", "database"}}) {
                    put(fields, part[0], type.getMethod(part[1]).invoke(parsed));
                }
                return fields;
            }
            case "sqlserver": {
                Object properties = method("com.microsoft.sqlserver.jdbc.Util", "parseUrl", String.class, Logger.class).invoke(null, url, Logger.getAnonymousLogger());
                return fields((Properties) properties, "serverName", "portNumber", "databaseName");
            }
            default:
                throw new IllegalArgumentException(engine);
        }
    }

    static List<String> names(String engine) throws ReflectiveOperationException, java.sql.SQLException {
        List<String> names = new ArrayList<>();
        switch (engine) {
            case "postgresql":
                for (Object property : Class.forName("org.postgresql.PGProperty").getEnumConstants()) {
                    names.add((String) property.getClass().getMethod("getName").invoke(property));
                }
                break;
            case "mysql":
                for (Object key : Class.forName("com.mysql.cj.conf.PropertyKey").getEnumConstants()) {
                    names.add((String) key.getClass().getMethod("getKeyName").invoke(key));
                    Object alias = key.getClass().getMethod("getCcAlias").invoke(key);
                    if (alias != null && !alias.toString().isEmpty()) {
                        names.add(alias.toString());
                    }
                }
                break;
            case "mariadb": {
                for (Field field : Class.forName("org.mariadb.jdbc.Configuration$Builder").getDeclaredFields()) {
                    names.add(field.getName().replaceFirst("^_", ""));
                }
                Object aliases = Class.forName("org.mariadb.jdbc.util.options.OptionAliases").getField("OPTIONS_ALIASES").get(null);
                ((Map<?, ?>) aliases).keySet().forEach(name -> names.add(name.toString()));
                break;
            }
            case "sqlserver": {
                Class<?> driver = Class.forName("com.microsoft.sqlserver.jdbc.SQLServerDriver");
                Object instance = driver.getConstructor().newInstance();
                for (var property : ((java.sql.Driver) instance).getPropertyInfo("jdbc:sqlserver://h", new Properties())) {
                    names.add(property.name);
                }
                Field synonyms = driver.getDeclaredField("driverPropertiesSynonyms");
                synonyms.setAccessible(true);
                for (String[] synonym : (String[][]) synonyms.get(null)) {
                    names.add(synonym[0]);
                }
                break;
            }
            default:
                throw new IllegalArgumentException(engine);
        }
        return names;
    }

    static Method method(String type, String name, Class<?>... parameters) throws ReflectiveOperationException {
        Method method = Class.forName(type).getDeclaredMethod(name, parameters);
        method.setAccessible(true);
        return method;
    }

    /** All properties, those of the address and the user under podcreds' names. */
    static Map<String, String> fields(Properties properties, String host, String port, String database) {
        Map<String, String> fields = new TreeMap<>();
        properties.stringPropertyNames().forEach(name -> fields.put(name, properties.getProperty(name)));
        for (String[] part : new String[][] {{"host", host}, {"port", port}, {"database", database}, {"username", "user"}}) {
            put(fields, part[0], fields.remove(part[1]));
        }
        return fields;
    }

    static void put(Map<String, String> fields, String name, Object value) {
        if (value != null) {
            fields.put(name, value.toString());
        }
    }

    static String encoded(String value) {
        return Base64.getEncoder().encodeToString(value.getBytes(StandardCharsets.UTF_8));
    }

    static String quoted(String plain) {
        return '"' + plain + '"';
    }
}
