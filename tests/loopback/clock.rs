//! The wall clock jumps, as NTP or a restored virtual machine makes it. libfaketime shifts it for the program alone; the
//! monotonic clock, which orders everything in the program, runs on.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Scene;
use crate::health::Asked;
use crate::support::skip::require;

/// Of the Debian package `faketime`.
const LIBRARY: &str = "/usr/lib/*-linux-gnu/faketime/libfaketime.so.1";

fn library() -> Option<PathBuf> {
    let (parent, within) = LIBRARY.split_once('*').expect("a pattern");
    let found = fs::read_dir(parent).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let suffix = within.strip_prefix("-linux-gnu/").expect("a pattern");
    found.map(|directory| directory.join(suffix)).find(|path| path.exists())
}

/// A sidecar, and the file that sets its clock.
struct Clock {
    asked: Asked,
    file: NamedTempFile,
    changes: u32,
}

impl Clock {
    fn start(library: &Path) -> Self {
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), "+0").unwrap();
        let scene = Scene::plain();
        let mut command = scene.command(&["sidecar", "--listen", "127.0.0.1:0"]);
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file.path());
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let asked = Asked::of(scene, command);
        asked.waits("the sidecar is ready", || asked.status("/readyz") == 200);
        asked.watches(1);
        Self { asked, file, changes: 0 }
    }

    /// Shifts the clock, or sets it, in the syntax of faketime(1).
    fn jump(&self, to: &str) {
        fs::write(self.file.path(), to).unwrap();
    }

    /// A change arrives over the open watch.
    fn rotates(&mut self) {
        self.changes += 1;
        let password = format!("test-password-{}", self.changes);
        self.asked.scene.put_password(&password);
        self.asked.arrives("db/password", &password);
    }

    /// Nothing failed and nothing is stale.
    fn is_well(&self) {
        self.asked.is_current();
        assert_eq!((self.asked.status("/readyz"), self.asked.status("/livez")), (200, 200));
        assert_eq!(self.asked.metric("podcreds_syncs_total{result=\"failure\"}"), 0.0);
    }
}

#[test]
fn rotations_continue_while_the_clock_jumps() {
    let Some(library) = require("libfaketime", library()) else { return };
    let mut clock = Clock::start(&library);
    // Less than the day for which the certificate of the test's API server is valid, since the watch is opened again.
    for offset in ["+20h", "-20h"] {
        clock.jump(offset);
        clock.rotates();
        clock.asked.scene.server.drop_connections();
        clock.rotates();
        clock.asked.watches(1);
    }
    for time in ["+400d", "-400d", "@1969-12-31 12:00:00", "@9999-12-31 23:59:59", "+0"] {
        clock.jump(time);
        clock.rotates();
    }
    clock.is_well();
}
