<?php
// Reads one file per case with the dotenv libraries of PHP and prints the fields.
//
//     php read.php dotenv DIRECTORY
//
// The libraries are those of Debian's packages. The file of a case is DIRECTORY/CASE/db.env. Each printed line is a JSON object: `reader`,
// `case`, and either `fields`, with values in base64, or `error`.
require "/usr/share/php/Dotenv/autoload.php";
require "/usr/share/php/Symfony/Component/Dotenv/autoload.php";

$readers = [
    "phpdotenv" => fn ($text) => Dotenv\Dotenv::parse($text),
    "Symfony" => fn ($text) => (new Symfony\Component\Dotenv\Dotenv())->parse($text),
];
ini_set("pcre.jit", "0"); // its stack is too small for a value of a megabyte
foreach ($readers as $reader => $read) {
    foreach (array_diff(scandir($argv[2]), [".", ".."]) as $case) {
        $line = ["reader" => $reader, "case" => $case];
        try {
            $line["fields"] = array_map("base64_encode", $read(file_get_contents("$argv[2]/$case/db.env")));
        } catch (Throwable $error) {
            $line["error"] = get_class($error);
        }
        echo json_encode($line), "\n";
    }
}
