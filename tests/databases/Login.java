// Logs in with the JDBC URL in each file, and prints a line for each: the user name that the server reports, as hexadecimal
// digits of its UTF-8, or the name and the SQLSTATE of the exception, without its message, which may contain the URL.
//
//     java -cp DRIVER Login.java QUERY FILE…
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Arrays;
import java.util.HexFormat;

class Login {
    public static void main(String[] args) throws Exception {
        for (String file : Arrays.asList(args).subList(1, args.length)) {
            String url = Files.readString(Path.of(file), StandardCharsets.UTF_8);
            try (Connection connection = DriverManager.getConnection(url);
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(args[0])) {
                rows.next();
                System.out.println(HexFormat.of().formatHex(rows.getString(1).getBytes(StandardCharsets.UTF_8)));
            } catch (SQLException error) {
                System.out.println(error.getClass().getSimpleName() + " " + error.getSQLState());
            }
        }
    }
}
