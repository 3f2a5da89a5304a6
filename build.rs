//! Has the static binary laid out as `layout.ld` says.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=layout.ld");
    let is = |name, value| var(name).is_ok_and(|found| found == value);
    // Where a panic unwinds, in a debug build, the tables that the layout leaves out are needed.
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "musl") && is("PROFILE", "release") {
        let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-T{folder}/layout.ld");
    }
}
