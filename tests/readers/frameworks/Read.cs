// Reads the connection string of one application per case.
//
//     mono Frameworks.exe DIRECTORY
//
// No runtime with Microsoft.Extensions.Configuration and Npgsql can be installed from Debian. This program follows the documented rules of
// AddKeyPerFile: each file that is not hidden is a key, `__` in its name is `:`, and one line break at the end is removed. mono's
// DbConnectionStringBuilder, the base class of Npgsql's builder, then parses the string. Each printed line is a JSON object: `reader`,
// `case`, and either `fields`, with values in base64, or `error`.
using System;
using System.Collections.Generic;
using System.Data.Common;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.RegularExpressions;

static class Frameworks
{
    static Dictionary<string, string> KeyPerFile(string directory)
    {
        var keys = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var path in Directory.GetFiles(directory).Where(path => !Path.GetFileName(path).StartsWith(".")))
        {
            var text = File.ReadAllText(path);
            keys[Path.GetFileName(path).Replace("__", ":")] = text.EndsWith("\n") ? text.Substring(0, text.Length - 1) : text;
        }
        return keys;
    }

    static string Fields(string directory)
    {
        var code = File.ReadAllText(Path.Combine(directory, "0.csharp"));
        var root = Regex.Match(code, "AddKeyPerFile\\(\"([^\"]+)\"").Groups[1].Value;
        var name = Regex.Match(code, "GetConnectionString\\(\"([^\"]+)\"").Groups[1].Value;
        var found = new DbConnectionStringBuilder { ConnectionString = KeyPerFile(root)["ConnectionStrings:" + name] };
        Func<string, string> value = key => found.ContainsKey(key) ? (string)found[key] : "";
        Func<string, string> encoded = key => Convert.ToBase64String(Encoding.UTF8.GetBytes(value(key)));
        return $"\"fields\":{{\"username\":\"{encoded("Username")}\",\"password\":\"{encoded("Password")}\",\"host\":\"{encoded("Host")}\"}}";
    }

    static void Main(string[] arguments)
    {
        foreach (var directory in Directory.GetDirectories(arguments[0]).OrderBy(path => path, StringComparer.Ordinal))
        {
            string result;
            try { result = Fields(directory); }
            catch (Exception error) { result = $"\"error\":\"{error.GetType().Name}\""; }
            Console.WriteLine($"{{\"reader\":\".NET\",\"case\":\"{Path.GetFileName(directory)}\",{result}}}");
        }
    }
}
