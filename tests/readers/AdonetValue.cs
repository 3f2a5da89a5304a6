// Reads one connection string per case with .NET's DbConnectionStringBuilder, the parser that Npgsql, SqlClient and MySqlConnector
// build on, and prints the password. Mono's System.Data has Microsoft's source code of that class.
//
//     AdonetValue.exe DIRECTORY
//
// The file of a case is DIRECTORY/CASE/db.txt, with Host, Username, Password and Database. Each printed line is a JSON object:
// `reader`, `case`, and either `fields`, with the password as VALUE in base64, or `error`.
using System;
using System.Data.Common;
using System.IO;
using System.Text;

static class AdonetValue
{
    static void Main(string[] arguments)
    {
        foreach (string directory in Directory.GetDirectories(arguments[0]))
        {
            string result;
            try
            {
                string text = File.ReadAllText(Path.Combine(directory, "db.txt"), new UTF8Encoding(false, true));
                string value = Convert.ToBase64String(new UTF8Encoding(false, true).GetBytes(Password(text)));
                result = "\"fields\": {\"VALUE\": \"" + value + "\"}";
            }
            catch (Exception error)
            {
                result = "\"error\": \"" + error.GetType().Name + "\"";
            }
            Console.WriteLine("{\"reader\": \"DbConnectionStringBuilder\", \"case\": \"" + Path.GetFileName(directory) + "\", " + result + "}");
        }
    }

    static string Password(string text)
    {
        var builder = new DbConnectionStringBuilder { ConnectionString = text };
        if (builder.Keys.Count != 4 || !"db.prod".Equals(builder["Host"]) || !"orders".Equals(builder["Database"]))
        {
            throw new InvalidDataException();
        }
        // The user has the same value.
        var password = (string)builder["Password"];
        if (!password.Equals(builder["Username"]))
        {
            throw new InvalidOperationException();
        }
        return password;
    }
}
