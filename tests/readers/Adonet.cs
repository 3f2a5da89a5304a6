// Reads connection strings of .NET, one for each case, and prints the parts that each reader finds.
//
//     Adonet.exe adonet-ENGINE DIRECTORY
//     Adonet.exe names
//
// The file of a case is DIRECTORY/CASE/db.adonet. Each printed line is a JSON object: `reader`, `case`, and either `fields`, with values
// in base64, or `error`. `names` prints the keywords of SqlClient and their synonyms, one a line. Npgsql, MySqlConnector and SqlClient
// all derive from DbConnectionStringBuilder, whose parser is the only one that they have for the string itself.
using System;
using System.Collections.Generic;
using System.Data.Common;
using System.Data.SqlClient;
using System.IO;
using System.Linq;
using System.Text;

static class Adonet {
    // SqlConnectionString.SYNONYM of .NET's reference source.
    static readonly string[] Synonyms = {
        "app", "async", "extended properties", "initial file name", "connection timeout", "timeout", "language", "addr", "address",
        "server", "network address", "database", "trusted_connection", "connection lifetime", "net", "network", "pwd",
        "persistsecurityinfo", "uid", "user", "wsid",
    };

    static Dictionary<string, string> Keywords(string engine) {
        switch (engine) {
            case "postgresql":
                return Pairs("host=host port=port database=database username=username password=password");
            case "sqlserver":
                return Pairs("data source=host initial catalog=database user id=username password=password");
            default:
                return Pairs("server=host port=port database=database user id=username password=password");
        }
    }

    static Dictionary<string, string> Pairs(string text) {
        var found = new Dictionary<string, string> { { "authsource", "authSource" } };
        string keyword = "";
        foreach (string word in text.Split(' ')) {
            int end = word.IndexOf('=');
            keyword += end < 0 ? word + " " : word.Substring(0, end);
            if (end >= 0) {
                found[keyword] = word.Substring(end + 1);
                keyword = "";
            }
        }
        return found;
    }

    static Dictionary<string, string> Read(DbConnectionStringBuilder builder, string engine) {
        var fields = new Dictionary<string, string>();
        Dictionary<string, string> keywords = Keywords(engine);
        foreach (string keyword in builder.Keys) {
            fields[keywords[keyword]] = (string)builder[keyword];
        }
        return SplitPort(fields, engine);
    }

    static Dictionary<string, string> ReadBySqlClient(string text) {
        // It knows no other keywords than its own.
        var builder = new SqlConnectionStringBuilder(text.Replace("\";authSource=\"", "\";Application Name=\""));
        var fields = new Dictionary<string, string> {
            { "host", builder.DataSource }, { "database", builder.InitialCatalog }, { "username", builder.UserID },
            { "password", builder.Password },
        };
        if (builder.ShouldSerialize("Application Name")) {
            fields["authSource"] = builder.ApplicationName;
        }
        return SplitPort(fields, "sqlserver");
    }

    static Dictionary<string, string> SplitPort(Dictionary<string, string> fields, string engine) {
        if (engine == "sqlserver") {
            string[] parts = fields["host"].Split(',');
            fields["host"] = parts[0];
            fields["port"] = parts[1];
        }
        return fields;
    }

    static void Print(string reader, string directory, Func<string, Dictionary<string, string>> read) {
        foreach (string path in Directory.GetDirectories(directory).OrderBy(path => path, StringComparer.Ordinal)) {
            string result;
            try {
                string text = File.ReadAllText(Directory.GetFiles(path).Single(), new UTF8Encoding(false, true));
                IEnumerable<string> fields = read(text).Select(field =>
                    "\"" + field.Key + "\":\"" + Convert.ToBase64String(Encoding.UTF8.GetBytes(field.Value)) + "\"");
                result = "\"fields\":{" + string.Join(",", fields) + "}";
            } catch (Exception error) {
                result = "\"error\":\"" + error.GetType().Name + "\"";
            }
            Console.WriteLine("{\"reader\":\"" + reader + "\",\"case\":\"" + Path.GetFileName(path) + "\"," + result + "}");
        }
    }

    static void Main(string[] arguments) {
        if (arguments[0] == "names") {
            var names = new SqlConnectionStringBuilder().Keys.Cast<string>().Concat(Synonyms);
            Console.WriteLine(string.Join("\n", names));
            return;
        }
        string engine = arguments[0].Split('-')[1];
        Print("DbConnectionStringBuilder", arguments[1],
            text => Read(new DbConnectionStringBuilder { ConnectionString = text }, engine));
        if (engine == "sqlserver") {
            Print("SqlClient", arguments[1], ReadBySqlClient);
        }
    }
}
