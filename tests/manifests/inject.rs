//! docs/inject.md: the manifest of the page, injected by the command, by Helm, which runs the command as a post-renderer, and by
//! kustomize, which runs it as a function.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::charts::{self, Charts, HELMS};
use super::{documents, missing};

const PAGE: &str = include_str!("../../docs/inject.md");
const KUSTOMIZE: &str = "PODCREDS_TEST_KUSTOMIZE";
const PODCREDS: &str = env!("CARGO_BIN_EXE_podcreds");
const IMAGE: &str = "registry.example.com/podcreds:0.1.0";

/// The blocks of the page in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let start = format!("```{language}\n");
    PAGE.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The manifest, the plugin of Helm, the function and the kustomization.
fn yaml_blocks() -> [&'static str; 4] {
    blocks("yaml").try_into().unwrap()
}

/// The output of a program that must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the command makes of a manifest.
fn injected(manifest: &Path) -> Vec<Value> {
    let mut command = Command::new(PODCREDS);
    let objects = documents(&output(command.args(["inject", "--image", IMAGE, "-f"]).arg(manifest)));
    assert_eq!(objects[0]["spec"]["template"]["spec"]["initContainers"][0]["image"], IMAGE);
    objects
}

#[test]
fn helm_3_runs_the_script_of_the_page_and_helm_4_the_plugin() {
    let [manifest, plugin, ..] = yaml_blocks();
    let script = *blocks("sh").iter().find(|block| block.starts_with("#!")).unwrap();
    for (variable, is_plugin) in HELMS.into_iter().zip([false, true]) {
        let Some(helm) = charts::helm(variable) else {
            let _: Option<()> = missing(&format!("{variable}; {}", charts::INSTALL));
            return;
        };
        let charts = Charts::new(&helm);
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["bin", "chart/templates", "podcreds-inject"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        symlink(PODCREDS, path("bin/podcreds")).unwrap();
        for (name, text) in [
            ("chart/Chart.yaml", "apiVersion: v2\nname: orders\nversion: 0.1.0\n"),
            ("chart/templates/orders.yaml", manifest),
            ("podcreds-inject/plugin.yaml", plugin),
            ("inject.sh", script),
        ] {
            fs::write(path(name), text).unwrap();
        }
        fs::set_permissions(path("inject.sh"), fs::Permissions::from_mode(0o755)).unwrap();

        let search_path = format!("{}:{}", path("bin").display(), env::var("PATH").unwrap());
        let helm = |arguments: &[&str]| {
            let mut command = charts.command();
            output(command.args(arguments).env("PATH", &search_path).current_dir(&directory))
        };
        let post_renderer = if is_plugin {
            helm(&["plugin", "install", "./podcreds-inject"]);
            "podcreds-inject"
        } else {
            "./inject.sh"
        };
        let rendered = helm(&["template", "orders", "./chart", "--post-renderer", post_renderer]);
        assert_eq!(documents(&rendered), injected(&path("chart/templates/orders.yaml")), "{variable}");
    }
}

#[test]
fn kustomize_runs_the_command_as_a_function() {
    let [manifest, _, function, kustomization] = yaml_blocks();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, text) in
        [("orders.yaml", manifest), ("inject.yaml", function), ("kustomization.yaml", kustomization)]
    {
        fs::write(path(name), text).unwrap();
    }
    let expected = injected(&path("orders.yaml"));

    let Some(kustomize) = env::var_os(KUSTOMIZE) else {
        let _: Option<()> = missing(&format!("{KUSTOMIZE}; {}", charts::INSTALL));
        return;
    };
    symlink(PODCREDS, path("podcreds")).unwrap();
    let mut command = Command::new(kustomize);
    command.args(["build", "--enable-alpha-plugins", "--enable-exec"]).arg(directory.path());
    assert_eq!(documents(&output(&mut command)), expected);
}
