//! Shows podcreds without a cluster: starts a TLS API server on loopback with a pod and its Secrets, runs the real `init` and
//! `sidecar` as processes, and prints the files that they write.
//!
//! ```sh
//! cargo run --example demo
//! ```

#![allow(clippy::print_stdout, reason = "the output is the purpose of a demo")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a demo that cannot continue should panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use support::pod::PodFolder;
use support::run::Running;
use support::server::ApiServer;

/// With this first argument, the demo acts as podcreds.
const AS_PODCREDS: &str = "--as-podcreds";

const PATIENCE: Duration = Duration::from_secs(20);

/// The annotations of the pod, which are all that an application team writes.
const ANNOTATIONS: [(&str, &str); 8] = [
    ("podcreds.io/db.secret", "orders-db"),
    ("podcreds.io/env.secret", "orders-db"),
    ("podcreds.io/env.format", "env"),
    ("podcreds.io/env.keys", "DB_USER=username, DB_PASSWORD=password"),
    ("podcreds.io/env.path", "orders.env"),
    ("podcreds.io/cache.secret", "cache"),
    ("podcreds.io/cache.configmap", "cache"),
    ("podcreds.io/cache.format", "yaml"),
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(AS_PODCREDS) {
        let args = std::env::args_os().skip(2);
        return ExitCode::from(podcreds::cli::run(["podcreds".into()].into_iter().chain(args)));
    }
    let server = ApiServer::start();
    server.put_pod("prod", support::pod::POD, &ANNOTATIONS);
    server.put_secret(
        "prod",
        "orders-db",
        &[("username", b"orders"), ("password", br#"it's a "demo" $password"#)],
    );
    server.put_secret("prod", "cache", &[("password", b"demo-password")]);
    server.put_configmap("prod", "cache", &[("host", "cache.prod.svc"), ("port", "6379")], &[]);

    println!("A pod in namespace prod has these annotations:\n");
    ANNOTATIONS.iter().for_each(|(name, value)| println!("    {name}: {value}"));

    println!("\nIts init container runs `podcreds init`, which logs:\n");
    let pod = PodFolder::new(&server);
    let succeeded = init(&pod, &server);
    println!(
        "\nIt sent only these requests to the API server, over {} TLS connection:\n",
        server.connections()
    );
    server.request_lines().iter().for_each(|line| println!("    {line}"));

    println!("\nThe application finds in its volume:\n");
    show(&pod.volume(), &pod.volume());
    let followed = succeeded && rotate(&pod, &server);
    println!(
        "\n`..data` points to the current version. A change creates a new version, and one rename makes it current: a reader\n\
         that resolves `..data` once never sees a mixture of versions."
    );
    if followed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts the sidecar, changes a Secret, and shows the file before and after.
fn rotate(pod: &PodFolder, server: &ApiServer) -> bool {
    println!(
        "\nA sidecar, `podcreds sidecar`, keeps the files current. The demo changes a Secret while it runs:\n"
    );
    let mut command =
        pod.command(&std::env::current_exe().expect("the path of this program is known"), server);
    // Another program may use the port of the probes and metrics.
    command.args([AS_PODCREDS, "sidecar", "--listen", "off"]);
    let sidecar = Running::start(command);
    sidecar.poll_until(PATIENCE, "the Secrets are watched", || server.open_watches() == 3);

    let file = pod.volume().join("db/password");
    println!("    before  {}", fs::read_to_string(&file).unwrap());
    let changed = Instant::now();
    server.put_secret(
        "prod",
        "orders-db",
        &[("username", b"orders"), ("password", b"another-demo-password")],
    );
    sidecar.poll_until(PATIENCE, "the file has the new value", || {
        fs::read_to_string(&file).is_ok_and(|text| text.starts_with("another"))
    });
    println!(
        "    after   {}  ({} ms later)\n",
        fs::read_to_string(&file).unwrap(),
        changed.elapsed().as_millis()
    );
    sidecar.poll_until(PATIENCE, "the rotation is logged", || sidecar.stderr().contains("rotated"));
    sidecar.stderr().lines().for_each(|line| println!("    {line}"));
    true
}

/// Runs this program again as podcreds, with the environment and files of a container.
fn init(pod: &PodFolder, server: &ApiServer) -> bool {
    let mut command: Command =
        pod.command(&std::env::current_exe().expect("the path of this program is known"), server);
    let output = command.args([AS_PODCREDS, "init"]).output().expect("podcreds starts");
    String::from_utf8_lossy(&output.stderr).lines().for_each(|line| println!("    {line}"));
    output.status.success()
}

/// Prints a directory as a tree, with modes, link targets and file contents.
fn show(root: &Path, directory: &Path) {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(root).unwrap().display();
        let status = fs::symlink_metadata(&path).unwrap();
        if status.is_symlink() {
            println!("                {name} -> {}", fs::read_link(&path).unwrap().display());
        } else if status.is_dir() {
            println!("    {:04o}        {name}/", status.mode() & 0o7777);
            show(root, &path);
        } else {
            println!("    {:04o}        {name}", status.mode() & 0o7777);
            let content = fs::read_to_string(&path).unwrap_or_else(|_| "(bytes)".to_owned());
            content.lines().for_each(|line| println!("                  | {line}"));
        }
    }
}
