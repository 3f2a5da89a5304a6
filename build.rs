//! Links the static binary with `layout.ld`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=layout.ld");
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        match env::var("CARGO_MANIFEST_DIR") {
            Ok(root) => println!("cargo::rustc-link-arg-bins=-T{root}/layout.ld"),
            // Cargo sets it, but it may not be UTF-8.
            Err(error) => println!("cargo::error=CARGO_MANIFEST_DIR: {error}"),
        }
    }
}
