//! Links the static binary with `layout.ld`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=layout.ld");
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        // Cargo sets it for every build script.
        let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-T{root}/layout.ld");
    }
}
