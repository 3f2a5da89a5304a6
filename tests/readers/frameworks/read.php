<?php
// Reads the configuration of one application per case as Laravel or Symfony does.
//
//     php read.php laravel|symfony DIRECTORY
//
// The libraries are those of Debian's packages. The block of the page is DIRECTORY/CASE/0.php or 0.yaml. DoctrineBundle is not among
// the packages; like it, this program makes a service of Doctrine's connection, with `dbal.url` as its parameter. Each printed line is a JSON object: `reader`, `case`, and either `fields`, with values in base64, or `error`.
use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Illuminate\Database\Capsule\Manager;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Dumper\PhpDumper;
use Symfony\Component\Yaml\Yaml;

error_reporting(E_ALL & ~E_DEPRECATED);
[, $reader, $root] = $argv;
$libraries = ["laravel" => ["Illuminate/Database"], "symfony" => ["Symfony/Component/DependencyInjection", "Symfony/Component/Yaml", "Doctrine/DBAL"]];
foreach ($libraries[$reader] as $library) {
    require "/usr/share/php/$library/autoload.php";
}

// Each request evaluates the configuration, or runs the compiled container.
function rotate(string $case): void
{
    rename("$case/podcreds", "$case/earlier");
    rename("$case/rotated", "$case/podcreds");
}

function laravel(string $case): array
{
    rotate($case);
    $connections = eval("return [" . file_get_contents("$case/0.php") . "];");
    $manager = new Manager();
    $manager->addConnection($connections["pgsql"]);
    $config = $manager->getConnection()->getConfig();
    return ["username" => $config["username"], "password" => $config["password"]];
}

function symfony(string $case): array
{
    $config = Yaml::parseFile("$case/0.yaml");
    $container = new ContainerBuilder();
    foreach ($config["parameters"] as $name => $value) {
        $container->setParameter($name, $value);
    }
    $connection = $container->register("connection", Connection::class)->setPublic(true);
    $connection->setFactory([DriverManager::class, "getConnection"])->setArguments([["url" => $config["doctrine"]["dbal"]["url"]]]);
    $container->compile();
    // As in production, the container is PHP code that replaces environment variables when it runs.
    $class = "Container" . basename($case);
    eval(substr((new PhpDumper($container))->dump(["class" => $class]), strlen("<?php")));
    rotate($case);
    $found = (new $class())->get("connection")->getParams();
    return ["username" => $found["user"], "password" => $found["password"] ?? "", "host" => $found["host"]];
}

foreach (array_diff(scandir($root), [".", ".."]) as $case) {
    $line = ["reader" => $reader, "case" => $case];
    try {
        $line["fields"] = array_map("base64_encode", $reader("$root/$case"));
    } catch (Throwable $error) {
        $line["error"] = get_class($error) . ": " . $error->getMessage();
    }
    echo json_encode($line), "\n";
}
