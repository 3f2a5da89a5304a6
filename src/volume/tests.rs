use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;
use crate::credential::BundleFile;
use crate::secret::SecretBytes;
use crate::volume::directory::KEPT_VERSIONS;

mod locks;

const LONG: Duration = Duration::from_secs(3600);

struct Place {
    directory: TempDir,
    volume: Volume,
}

impl Place {
    fn with_grace(grace: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let volume = Volume::open(directory.path(), grace).unwrap();
        Self { directory, volume }
    }

    fn new() -> Self {
        Self::with_grace(Duration::ZERO)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| format!("{:?}", error.kind()))
    }

    fn publish(&self, files: &[(&str, &str)]) -> Result<Published, String> {
        self.volume.publish(&bundle(files)).map_err(|error| error.to_string())
    }

    fn publish_keeping(&self, files: &[(&str, &str)], kept: &[&str]) -> Result<Published, String> {
        let kept = kept.iter().map(|name| (*name).to_owned()).collect();
        self.volume.publish_keeping(&bundle(files), &kept).map_err(|error| error.to_string())
    }

    /// The files that a publication with kept entries reports as changed.
    fn changed_keeping(&self, files: &[(&str, &str)], kept: &[&str]) -> Vec<String> {
        match self.publish_keeping(files, kept) {
            Ok(Published::Swapped { changed, .. }) => changed.unwrap().into_iter().collect(),
            other => panic!("{other:?}"),
        }
    }

    /// The entries that count as published.
    fn entries(&self) -> Vec<String> {
        self.volume.entries().unwrap().into_iter().collect()
    }

    fn record(&self) -> String {
        self.read("..podcreds/record")
    }

    /// What a publication that adds these paths leaves in the record if it is killed before it moves anything into place.
    fn begin(&self, paths: &[&str]) {
        let state = State::open_or_create(self.volume.root.as_fd()).unwrap();
        let mut record = state.record().unwrap().unwrap_or_default();
        record.paths.extend(paths.iter().map(|path| (*path).to_owned()));
        record.incomplete = true;
        state.prepare_record(state::BEGUN, &record).unwrap();
        state.commit_record(state::BEGUN).unwrap();
    }

    fn is_complete(&self) -> bool {
        Reader::open(self.directory.path()).unwrap().unwrap().is_complete()
    }

    /// The files that a publication reports as changed.
    fn changed(&self, files: &[(&str, &str)]) -> Vec<String> {
        match self.publish(files) {
            Ok(Published::Swapped { changed, .. }) => changed.unwrap().into_iter().collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Every name in a directory of the volume, sorted; a version is shown as `..version`.
    fn names_in(&self, directory: &str) -> Vec<String> {
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let short = |name: String| if name.starts_with("..2") { "..version".to_owned() } else { name };
        let entries = fs::read_dir(self.path(directory)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| short(name(entry.unwrap()))).collect();
        names.sort();
        names
    }

    fn names(&self) -> Vec<String> {
        self.names_in("")
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().mode() & 0o7777
    }

    /// The layout of an earlier version of podcreds: one version of the whole volume, with links to it at the top.
    fn write_earlier_layout(&self, files: &[(&str, &str)]) {
        let version = "..2026_01_01_00_00_00.000000000";
        for (path, content) in files {
            let path = self.path(&format!("{version}/{path}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
        }
        for name in self.names_in(version) {
            symlink(format!("..data/{name}"), self.path(&name)).unwrap();
        }
        symlink(version, self.path("..data")).unwrap();
    }
}

fn bundle(files: &[(&str, &str)]) -> Bundle {
    let file = |(path, content): &(&str, &str)| {
        let (path, mode) = path.split_once('@').unwrap_or((path, ""));
        let file = BundleFile { content: (*content).into(), mode: FileMode::parse(mode).ok() };
        (RelativePath::parse(path).unwrap(), file)
    };
    files.iter().map(file).collect()
}

#[test]
fn a_directory_has_the_layout_of_a_secret_volume() {
    let place = Place::new();
    assert!(matches!(place.publish(&[("db/user", "a"), ("x.env", "b")]), Ok(Published::Swapped { .. })));
    assert_eq!(place.names(), ["..podcreds", "db", "x.env"]);
    for name in place.names() {
        assert!(!place.path(&name).is_symlink(), "{name}");
    }
    assert_eq!(place.names_in("db"), ["..data", "..version", "user"]);
    assert_eq!(fs::read_link(place.path("db/user")).unwrap(), Path::new("..data/user"));
    let target = fs::read_link(place.path("db/..data")).unwrap();
    assert!(target.to_str().unwrap().starts_with("..20") && place.path("db/..data").is_dir());
    assert_eq!((place.read("db/user"), place.read("x.env")), ("a".into(), "b".into()));
}

/// A binding root must hold nothing but bindings: <https://github.com/spring-cloud/spring-cloud-bindings>.
#[test]
fn a_directory_of_bindings_holds_nothing_else() {
    let place = Place::new();
    place.publish(&[("bindings/db/user", "a"), ("bindings/cache/user", "b")]).unwrap();
    assert_eq!(place.names_in("bindings"), ["cache", "db"]);
    assert_eq!(place.names_in("bindings/db"), ["..data", "..version", "user"]);
    assert_eq!(
        place.changed(&[("bindings/db/user", "a"), ("bindings/cache/user", "c")]),
        ["bindings/cache/user"]
    );
}

#[test]
fn a_new_bundle_replaces_changed_files_only() {
    let place = Place::new();
    place.publish(&[("old", "1"), ("both/a", "1"), ("gone/a/b", "1"), ("same/a", "1")]).unwrap();
    let same = fs::read_link(place.path("same/..data")).unwrap();
    let changed = place.changed(&[("new", "2"), ("both/b", "2"), ("same/a", "1")]);
    assert_eq!(changed, ["both/a", "both/b", "gone/a/b", "new", "old"]);
    assert_eq!(place.names(), ["..podcreds", "both", "new", "same"]);
    assert_eq!(place.names_in("both"), ["..data", "..version", "b"]);
    assert_eq!(fs::read_link(place.path("same/..data")).unwrap(), same, "unchanged, so not rewritten");
}

/// Each publication uses a name for another type of file than before, at the top and below.
#[test]
fn a_file_can_become_a_directory_and_back() {
    for prefix in ["", "conf/"] {
        let at = |path: &str| format!("{prefix}{path}");
        let shapes = [
            vec![at("x")],
            vec![at("x/a")],
            vec![at("x/a"), at("x/b/c")],
            vec![at("x/b/c")],
            vec![at("x/a/b")],
        ];
        for (from, before) in shapes.iter().enumerate() {
            for (to, after) in shapes.iter().enumerate() {
                let place = Place::new();
                let files = |paths: &[String], content| {
                    paths.iter().map(|path| (path.clone(), content)).collect::<Vec<_>>()
                };
                for (paths, content) in [(before, "1"), (after, "2")] {
                    let files = files(paths, content);
                    let files: Vec<_> =
                        files.iter().map(|(path, content)| (path.as_str(), *content)).collect();
                    place.publish(&files).unwrap();
                    files.iter().for_each(|(path, content)| {
                        assert_eq!(place.read(path), *content, "{prefix} {from} {to}")
                    });
                    assert_eq!(place.publish(&files), Ok(Published::Unchanged), "{prefix} {from} {to}");
                }
                let mut found = Vec::new();
                list(place.directory.path(), "", &mut found);
                assert_eq!(&found, after, "{prefix} {from} {to}: nothing else is left");
            }
        }
    }
}

/// The files below a directory, without names that begin with two dots.
fn list(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match name.starts_with("..") {
            true => {}
            false if path.is_dir() => list(&path, &format!("{prefix}{name}/"), found),
            false => found.push(format!("{prefix}{name}")),
        }
    }
}

#[test]
fn an_unchanged_bundle_is_not_written_again() {
    let place = Place::new();
    place.publish(&[("a/b", "1"), ("c@0400", "2")]).unwrap();
    let state = || {
        let times = ["", "a", "..podcreds", "c"].map(|name| fs::metadata(place.path(name)).unwrap());
        times.map(|status| (status.mtime(), status.mtime_nsec(), status.ino()))
    };
    let before = state();
    assert_eq!(place.publish(&[("a/b", "1"), ("c@0400", "2")]), Ok(Published::Unchanged));
    assert_eq!(before, state());
}

#[test]
fn every_difference_leads_to_a_new_publication() {
    let place = Place::new();
    let files = [("a/b", "1"), ("c", "22")];
    type Damage = (&'static str, fn(&Place));
    let damage: [Damage; 12] = [
        ("content", |place| fs::write(place.path("c"), "33").unwrap()),
        ("length", |place| fs::write(place.path("c"), "222").unwrap()),
        ("mode", |place| fs::set_permissions(place.path("c"), PermissionsExt::from_mode(0o400)).unwrap()),
        ("a file less", |place| fs::remove_file(place.path("c")).unwrap()),
        ("directory mode", |place| {
            fs::set_permissions(place.path("a"), PermissionsExt::from_mode(0o700)).unwrap()
        }),
        ("version mode", |place| {
            fs::set_permissions(place.path("a/..data"), PermissionsExt::from_mode(0o700)).unwrap()
        }),
        ("one file more in a version", |place| fs::write(place.path("a/..data/x"), "").unwrap()),
        ("one file less in a version", |place| fs::remove_file(place.path("a/..data/b")).unwrap()),
        ("a link less", |place| fs::remove_file(place.path("a/b")).unwrap()),
        ("no version", |place| fs::remove_file(place.path("a/..data")).unwrap()),
        ("no directory", |place| fs::remove_dir_all(place.path("a")).unwrap()),
        ("a link for a file in a version", |place| {
            fs::remove_file(place.path("a/..data/b")).unwrap();
            symlink("../../c", place.path("a/..data/b")).unwrap();
        }),
    ];
    for (what, damage) in damage {
        place.publish(&files).unwrap();
        // The owner needs write permission for the test to change the file.
        fs::set_permissions(place.path("c"), PermissionsExt::from_mode(0o644)).unwrap();
        damage(&place);
        if place.path("c").exists() && what != "mode" {
            fs::set_permissions(place.path("c"), PermissionsExt::from_mode(0o444)).unwrap();
        }
        assert!(matches!(place.publish(&files), Ok(Published::Swapped { .. })), "{what}");
        assert_eq!((place.read("a/b"), place.read("c")), ("1".into(), "22".into()), "{what}");
        assert_eq!(place.publish(&files), Ok(Published::Unchanged), "{what}");
    }
}

#[test]
fn a_rotation_replaces_a_version_that_another_process_has_changed() {
    let place = Place::new();
    place.publish(&[("a/b", "1"), ("a/c", "1")]).unwrap();
    fs::set_permissions(place.path("a/..data/b"), PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(place.path("a/..data/b"), "changed").unwrap();
    fs::create_dir_all(place.path("a/..data/x/y")).unwrap();
    fs::remove_file(place.path("a/b")).unwrap();
    assert_eq!(place.changed(&[("a/b", "1"), ("a/c", "2")]), ["a/c"]);
    assert_eq!((place.read("a/b"), place.read("a/c")), ("1".into(), "2".into()));
    assert_eq!(place.mode("a/..data/b"), 0o444);
    assert_eq!(place.names_in("a"), ["..data", "..version", "b", "c"]);
}

#[test]
fn files_of_known_directories_that_differ_are_reported() {
    let place = Place::new();
    let all = [("a/b", "1"), ("a/c", "1"), ("d/e/f", "1"), ("d/g", "1")];
    place.publish(&all).unwrap();
    assert_eq!(place.changed(&[("a/b", "2"), all[1], ("d/e/f", "2"), all[3]]), ["a/b", "d/e/f"]);
    assert_eq!(place.changed(&[("a/b", "2"), ("a/d", "1"), ("d/e/f", "2"), all[3]]), ["a/c", "a/d"]);
    assert_eq!(place.changed(&all), ["a/b", "a/c", "a/d", "d/e/f"]);
    // Another process publishes meanwhile.
    let other = Volume::open(place.directory.path(), Duration::ZERO).unwrap();
    other.publish(&bundle(&[("a/b", "3"), all[1], all[2], all[3]])).unwrap();
    assert_eq!(place.changed(&[("a/b", "4"), all[1], all[2], all[3]]), ["a/b"]);
    other.publish(&bundle(&[("a/b", "1"), ("a/c", "2"), all[2], all[3]])).unwrap();
    assert_eq!(place.changed(&all), ["a/c"]);
    // A directory that was removed and is created again.
    place.publish(&[("d/g", "1")]).unwrap();
    assert_eq!(place.changed(&[("a/b", "1"), ("d/g", "1")]), ["a/b"]);
}

#[test]
fn versions_are_pruned_where_one_was_superseded() {
    let place = Place::with_grace(Duration::from_millis(1));
    place.publish(&[("a/b", "1"), ("c/d", "1")]).unwrap();
    let stale = "..2001_01_01_00_00_00.000000000";
    fs::create_dir(place.path("c").join(stale)).unwrap();
    // The first time looks everywhere, for what an earlier run has left.
    poll_until_pruned(&place, "c");
    place.publish_keeping(&[("a/b", "2")], &["c"]).unwrap();
    fs::create_dir(place.path("c").join(stale)).unwrap();
    poll_until_pruned(&place, "a");
    assert_eq!(place.names_in("c"), ["..data", "..version", "..version", "d"]);
}

/// Prunes until the directory has one version.
fn poll_until_pruned(place: &Place, directory: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while place.names_in(directory).iter().filter(|name| *name == "..version").count() > 1 {
        assert!(Instant::now() < deadline, "{:?}", place.names_in(directory));
        place.volume.prune();
    }
}

#[test]
fn after_a_failed_publication_leftovers_are_removed_everywhere() {
    let place = Place::new();
    place.publish(&[("a/b", "1"), ("c/d", "1")]).unwrap();
    place.volume.prune();
    fs::create_dir(place.path("c/..2001_01_01_00_00_00.000000000")).unwrap();
    fs::write(place.path("..podcreds/record.begun"), "x").unwrap();
    // A directory of another program is in the way of the temporary link.
    fs::create_dir_all(place.path("a/..data_tmp/x")).unwrap();
    assert!(place.publish_keeping(&[("a/b", "2")], &["c"]).is_err());
    fs::remove_dir_all(place.path("a/..data_tmp")).unwrap();
    place.publish_keeping(&[("a/b", "2")], &["c"]).unwrap();
    place.volume.prune();
    assert_eq!(place.names_in("c"), ["..data", "..version", "d"]);
    assert_eq!(place.names_in("..podcreds"), ["lock", "record"]);
}

#[test]
fn modes_come_from_the_volume_or_the_credential() {
    let place = Place::new();
    place.publish(&[("a/b", "1"), ("c@0600", "2"), ("d/e@0400", "3"), ("f/g/h", "4")]).unwrap();
    assert_eq!(["a/b", "c", "d/e"].map(|name| place.mode(name)), [0o444, 0o600, 0o400]);
    assert_eq!(
        ["a", "a/..data", "d", "f", "f/g"].map(|name| place.mode(name)),
        [0o755, 0o755, 0o700, 0o755, 0o755]
    );
    assert_eq!(
        ["..podcreds", "..podcreds/lock", "..podcreds/record"].map(|name| place.mode(name)),
        [0o755, 0o600, 0o444]
    );

    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), PermissionsExt::from_mode(0o2777)).unwrap();
    let place = Place { volume: Volume::open(shared.path(), LONG).unwrap(), directory: shared };
    place.publish(&[("a/b", "1")]).unwrap();
    assert_eq!(["a/b", "a", "a/..data"].map(|name| place.mode(name)), [0o440, 0o2750, 0o2750]);
    place.publish(&[("a/b", "1"), ("a/c@0444", "2")]).unwrap();
    assert_eq!(place.mode("a"), 0o2755, "a world-readable file needs a world-searchable directory");
    place.publish(&[("a/b", "1")]).unwrap();
    assert_eq!(place.mode("a"), 0o2750);
}

#[test]
fn a_reader_in_the_old_version_can_finish() {
    let place = Place::with_grace(LONG);
    place.publish(&[("db/user", "1"), ("db/password", "1"), ("x", "1")]).unwrap();
    let old = fs::canonicalize(place.path("db/..data")).unwrap();
    place.publish(&[("db/user", "2"), ("db/password", "2"), ("x", "1")]).unwrap();
    place.publish(&[("db/user", "2"), ("db/password", "2"), ("x", "2")]).unwrap();
    assert_eq!(fs::read_to_string(old.join("password")).unwrap(), "1");
    assert_eq!(place.names_in("db"), ["..data", "..version", "..version", "password", "user"]);
}

#[test]
fn only_the_remains_of_a_killed_run_are_removed() {
    let place = Place::with_grace(LONG);
    place.publish(&[("db/a", "1")]).unwrap();
    fs::create_dir_all(place.path("db/..2999_01_01_00_00_00.000000000/a/b")).unwrap();
    fs::write(place.path("db/..2999_01_01_00_00_00.000000000/a/b/c"), "x").unwrap();
    symlink("..2999_01_01_00_00_00.000000000", place.path("db/..data_tmp")).unwrap();
    symlink("..data/new", place.path("db/new")).unwrap();
    fs::create_dir_all(place.path("..podcreds/new/0")).unwrap();
    fs::write(place.path("..podcreds/new/1"), "x").unwrap();
    fs::write(place.path("..podcreds/record.begun"), "x").unwrap();
    // Not podcreds' files.
    fs::create_dir(place.path("..mine")).unwrap();
    fs::write(place.path("mine"), "x").unwrap();
    fs::write(place.path("db/mine"), "x").unwrap();
    symlink("elsewhere/link", place.path("db/link")).unwrap();
    assert_eq!(place.publish(&[("db/a", "1")]), Ok(Published::Unchanged));
    place.publish(&[("db/a", "1"), ("e", "1")]).unwrap();
    assert_eq!(place.names(), ["..mine", "..podcreds", "db", "e", "mine"]);
    assert_eq!(place.names_in("db"), ["..data", "..version", "a", "link", "mine"]);
    assert_eq!(place.names_in("..podcreds"), ["lock", "record"]);
}

#[test]
fn the_number_of_versions_is_bounded_under_fast_changes() {
    let place = Place::with_grace(LONG);
    let last = KEPT_VERSIONS + 10;
    (0..=last).for_each(|n| drop(place.publish(&[("db/a", &n.to_string())])));
    assert_eq!(place.names_in("db").len(), 3 + KEPT_VERSIONS);
    assert_eq!(place.read("db/a"), last.to_string());
}

#[test]
fn without_a_grace_period_the_old_version_is_removed_at_once() {
    let place = Place::new();
    place.publish(&[("db/a", "1")]).unwrap();
    place.publish(&[("db/a", "2")]).unwrap();
    assert_eq!(place.names_in("db"), ["..data", "..version", "a"]);
}

#[test]
fn versions_stay_in_order_when_the_clock_is_set_back() {
    let place = Place::with_grace(LONG);
    place.publish(&[("db/a", "1")]).unwrap();
    // The current version's name is in the future.
    let current = fs::read_link(place.path("db/..data")).unwrap();
    fs::rename(place.path("db").join(current), place.path("db/..2999_01_01_00_00_00.000000000")).unwrap();
    fs::remove_file(place.path("db/..data")).unwrap();
    symlink("..2999_01_01_00_00_00.000000000", place.path("db/..data")).unwrap();
    place.publish(&[("db/a", "2")]).unwrap();
    let current = fs::read_link(place.path("db/..data")).unwrap();
    assert_eq!(current, Path::new("..2999_01_01_00_00_00.000000001"));
    assert_eq!(place.read("db/..2999_01_01_00_00_00.000000000/a"), "1", "kept for the grace period");
}

#[test]
fn a_leftover_that_is_a_link_is_not_followed() {
    let (place, outside) = (Place::new(), tempfile::tempdir().unwrap());
    place.publish(&[("db/a", "1")]).unwrap();
    fs::write(outside.path().join("keep"), "x").unwrap();
    symlink(outside.path(), place.path("db/..2026_01_01_00_00_00.000000000")).unwrap();
    fs::create_dir(place.path("db/..2026_01_01_00_00_00.000000001")).unwrap();
    symlink(outside.path(), place.path("db/..2026_01_01_00_00_00.000000001/in")).unwrap();
    symlink(outside.path(), place.path("..podcreds/new")).unwrap();
    place.publish(&[("db/a", "2")]).unwrap();
    assert!(outside.path().join("keep").exists());
    assert_eq!(place.names_in("db"), ["..data", "..version", "a"]);
}

#[test]
fn files_that_podcreds_did_not_write_are_never_touched() {
    let outside = tempfile::tempdir().unwrap();
    type Plant = (&'static str, fn(&Path, &Path));
    let plant: [Plant; 5] = [
        ("a file", |path, _| fs::write(path, "mine").unwrap()),
        ("a directory", |path, _| fs::create_dir(path).unwrap()),
        ("a link out of the volume", |path, outside| symlink(outside, path).unwrap()),
        ("a link to another name", |path, _| symlink("..data/other", path).unwrap()),
        ("a FIFO", |path, _| {
            rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR).unwrap();
        }),
    ];
    for (what, plant) in plant {
        for (before, name) in
            [("", "db"), ("", "x.env"), ("", "conf"), ("conf/other", "conf/app"), ("conf/other", "conf/x")]
        {
            let place = Place::new();
            if !before.is_empty() {
                place.publish(&[(before, "1")]).unwrap();
            }
            let names = place.names();
            plant(&place.path(name), outside.path());
            let wanted = [("db/user", "2"), ("x.env", "2"), ("conf/app/user", "2"), ("conf/x", "2")];
            let message = place.publish(&wanted).unwrap_err();
            assert!(
                message.contains(&format!("{name:?} exists, belongs to uid ")),
                "{what} {name}: {message}"
            );
            assert!(place.names().len() <= names.len() + 2, "{what} {name}: {:?}", place.names());
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{what} {name}");
        }
    }
}

#[test]
fn a_conflicting_file_of_another_user_is_reported_with_its_owner() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    place.publish(&[("db/user", "1"), ("x.env", "1")]).unwrap();
    for name in ["db", "x.env"] {
        chown(place.path(name), Some(1234), None).unwrap();
        let message = place.publish(&[("db/user", "2"), ("x.env", "2")]).unwrap_err();
        assert!(message.contains(&format!("{name:?} exists, belongs to uid 1234")), "{message}");
        chown(place.path(name), Some(0), None).unwrap();
    }
    chown(place.path("..podcreds"), Some(1234), None).unwrap();
    let message = Volume::open(place.directory.path(), LONG).unwrap_err().to_string();
    assert!(message.contains("podcreds wrote its files as uid 1234 but now runs as uid 0"), "{message}");
}

#[test]
fn a_directory_keeps_files_of_other_programs() {
    let place = Place::new();
    place.publish(&[("db/user", "1")]).unwrap();
    fs::write(place.path("db/mine"), "x").unwrap();
    let message = place.publish(&[("db", "2")]).unwrap_err();
    assert!(message.contains("\"db/mine\" exists"), "{message}");
    place.publish(&[]).unwrap();
    assert_eq!((place.names_in("db"), place.read("db/mine")), (vec!["mine".to_owned()], "x".into()));
    assert_eq!(place.publish(&[]), Ok(Published::Unchanged));
    // The directory was created by podcreds, so podcreds may use it again.
    place.publish(&[("db/user", "3")]).unwrap();
    assert_eq!((place.read("db/user"), place.read("db/mine")), ("3".into(), "x".into()));
    fs::remove_file(place.path("db/mine")).unwrap();
    place.publish(&[]).unwrap();
    assert_eq!(place.names(), ["..podcreds"]);
}

#[test]
fn a_version_link_that_leaves_the_volume_is_not_followed() {
    let (place, outside) = (Place::new(), tempfile::tempdir().unwrap());
    place.publish(&[("db/user", "1")]).unwrap();
    fs::write(outside.path().join("user"), "theirs").unwrap();
    fs::remove_file(place.path("db/..data")).unwrap();
    symlink(outside.path(), place.path("db/..2026_01_01_00_00_00.000000000")).unwrap();
    symlink("..2026_01_01_00_00_00.000000000", place.path("db/..data")).unwrap();
    place.publish(&[("db/user", "ours")]).unwrap();
    assert_eq!(place.read("db/user"), "ours");
    assert_eq!(fs::read_to_string(outside.path().join("user")).unwrap(), "theirs");
}

#[test]
fn a_failed_publication_changes_nothing() {
    let place = Place::new();
    place.publish(&[("a", "1"), ("db/a", "1")]).unwrap();
    let before = (place.names(), place.names_in("db"), place.names_in("..podcreds"));
    fs::write(place.path("b"), "mine").unwrap();
    assert!(place.publish(&[("a", "2"), ("b", "2"), ("db/a", "2"), ("db/c", "2")]).is_err());
    fs::remove_file(place.path("b")).unwrap();
    assert_eq!((place.names(), place.names_in("db"), place.names_in("..podcreds")), before);
    assert_eq!((place.read("a"), place.read("db/a")), ("1".into(), "1".into()));
}

#[test]
fn a_damaged_record_is_reported() {
    let place = Place::new();
    place.publish(&[("a", "1")]).unwrap();
    fs::remove_file(place.path("..podcreds/record")).unwrap();
    fs::write(place.path("..podcreds/record"), "other\n").unwrap();
    assert!(place.publish(&[("a", "2")]).unwrap_err().contains("\"..podcreds/record\" is damaged"));
    assert!(Reader::open(place.directory.path()).is_err());
    assert_eq!(place.read("a"), "1");
}

#[test]
fn a_missing_volume_and_a_file_for_a_volume_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let message = |path: &Path| Volume::open(path, LONG).unwrap_err().to_string();
    assert!(message(&directory.path().join("none")).ends_with("does not exist"));
    fs::write(directory.path().join("file"), "").unwrap();
    assert!(message(&directory.path().join("file")).contains("is not a directory"));
}

#[test]
fn an_empty_bundle_clears_the_volume() {
    let place = Place::new();
    assert!(matches!(place.publish(&[]), Ok(Published::Swapped { changed: None, .. })));
    place.publish(&[("a", "1"), ("b/c/d", "1")]).unwrap();
    place.publish(&[]).unwrap();
    assert_eq!(place.names(), ["..podcreds"]);
    assert_eq!(place.publish(&[]), Ok(Published::Unchanged));
}

#[test]
fn the_layout_of_earlier_versions_is_migrated() {
    let place = Place::new();
    let files = [("db/user", "1"), ("x.env", "1"), ("conf/app/a", "1"), ("gone", "1")];
    place.write_earlier_layout(&files);
    // The same content is not a rotation, and files that no credential writes any more are removed.
    assert_eq!(place.changed(&files[..3]), ["gone"]);
    assert_eq!(place.names(), ["..podcreds", "conf", "db", "x.env"]);
    assert!(["conf", "db", "x.env"].iter().all(|name| !place.path(name).is_symlink()));
    assert_eq!(["db/user", "x.env", "conf/app/a"].map(|path| place.read(path)), ["1", "1", "1"]);
    assert_eq!(place.publish(&files[..3]), Ok(Published::Unchanged));

    let place = Place::new();
    place.write_earlier_layout(&files);
    assert_eq!(place.changed(&[("db", "2"), ("x.env/a", "2"), ("conf/app/a", "2")]).len(), 6);
    assert_eq!(["db", "x.env/a", "conf/app/a"].map(|path| place.read(path)), ["2", "2", "2"]);
    assert_eq!(place.names(), ["..podcreds", "conf", "db", "x.env"]);
}

#[test]
fn a_reader_that_resolves_data_once_never_sees_a_mix() {
    let place = Place::with_grace(LONG);
    let publish = |n: &str| {
        let (user, password) = (n.repeat(3), n.repeat(5000));
        place.publish(&[("db/user", &user), ("db/password", &password), ("x", &password)]).unwrap()
    };
    publish("0");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..300).for_each(|n| drop(publish(&(n % 10).to_string())));
            done.store(true, Ordering::Relaxed);
        });
        let mut seen = 0;
        while !done.load(Ordering::Relaxed) || seen == 0 {
            let version = fs::canonicalize(place.path("db/..data")).unwrap();
            let (user, password) = (
                fs::read_to_string(version.join("user")).unwrap(),
                fs::read_to_string(version.join("password")).unwrap(),
            );
            let n = &user[..1];
            assert_eq!((user.as_str(), password.as_str()), (n.repeat(3).as_str(), n.repeat(5000).as_str()));
            let file = fs::read_to_string(place.path("x")).unwrap();
            assert_eq!(file, file[..1].repeat(5000));
            seen += 1;
        }
    });
}

#[test]
fn a_reader_finds_the_published_files() {
    let read = |place: &Place| {
        let reader = Reader::open(place.directory.path()).unwrap()?;
        let files = reader.read(|path| path.to_string() != "unwanted").unwrap();
        let text = |(path, content): (RelativePath, SecretBytes)| {
            format!("{path}={}", content.expose_text().unwrap())
        };
        Some(files.into_iter().map(text).collect::<Vec<_>>())
    };
    let place = Place::new();
    assert_eq!(read(&place), None);
    fs::write(place.path("mine"), "x").unwrap();
    place.publish(&[("a", "1"), ("b/c", "1"), ("b/d/e", "1"), ("unwanted", "1")]).unwrap();
    assert_eq!(read(&place).unwrap(), ["a=1", "b/c=1", "b/d/e=1"]);
    // podcreds writes neither of these links.
    symlink("/etc/hostname", place.path("b/..data/link")).unwrap();
    fs::remove_file(place.path("a")).unwrap();
    symlink("/etc/hostname", place.path("a")).unwrap();
    assert_eq!(read(&place).unwrap(), ["b/c=1", "b/d/e=1"]);

    let place = Place::new();
    place.write_earlier_layout(&[("a", "1"), ("b/c", "1")]);
    assert_eq!(read(&place).unwrap(), ["a=1", "b/c=1"]);
}

#[test]
fn a_reader_knows_whether_the_last_publication_is_complete() {
    let place = Place::new();
    place.publish(&[("a", "1")]).unwrap();
    place.begin(&[]);
    assert!(!place.is_complete());
    assert!(matches!(place.publish(&[("a", "1")]), Ok(Published::Swapped { .. })));
    assert!(place.is_complete());
}

/// A container with write access to the volume could plant files that look published.
#[test]
fn a_reader_ignores_files_of_users_other_than_the_publisher() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let read = |place: &Place| {
        let reader = Reader::open(place.directory.path()).unwrap();
        reader
            .map(|reader| reader.read(|_| true).unwrap().keys().map(ToString::to_string).collect::<Vec<_>>())
    };
    let place = Place::new();
    place.publish(&[("a", "1"), ("b/c", "1"), ("d/e", "1")]).unwrap();
    chown(place.path("a"), Some(1234), None).unwrap();
    chown(place.path("b"), Some(1234), None).unwrap();
    assert_eq!(read(&place).unwrap(), ["d/e"]);

    // podcreds' own directory exists, but nothing was published yet.
    let place = Place::new();
    State::open_or_create(place.volume.root.as_fd()).unwrap();
    place.write_earlier_layout(&[("a", "1")]);
    rustix::fs::chownat(
        place.volume.root.as_fd(),
        "..data",
        Some(rustix::fs::Uid::from_raw(1234)),
        None,
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    assert_eq!(read(&place), None);
}

#[test]
fn the_mode_of_podcreds_own_directory_is_restored() {
    let place = Place::new();
    fs::create_dir(place.path("..podcreds")).unwrap();
    fs::set_permissions(place.path("..podcreds"), PermissionsExt::from_mode(0o700)).unwrap();
    place.publish(&[("a", "1")]).unwrap();
    assert_eq!(place.mode("..podcreds"), 0o755);
}

#[test]
fn changes_of_a_failed_publication_are_reported_by_the_next() {
    let place = Place::new();
    place.publish(&[("a/b", "1"), ("c", "1")]).unwrap();
    place.volume.unreported.lock().unwrap().insert("a/b".to_owned());
    assert_eq!(place.changed(&[("a/b", "1"), ("c", "2")]), ["a/b", "c"]);
    assert_eq!(place.changed(&[("a/b", "1"), ("c", "3")]), ["c"]);
}

#[test]
fn a_file_of_another_user_is_not_touched() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    fs::write(place.path("reload"), "x").unwrap();
    chown(place.path("reload"), Some(1234), None).unwrap();
    let message = place.volume.touch(&RelativePath::parse("reload").unwrap()).unwrap_err().to_string();
    assert!(message.contains("\"reload\" exists, belongs to uid 1234"), "{message}");
}

#[test]
fn a_kept_entry_stays_as_it_is_while_the_others_are_replaced_and_removed() {
    let place = Place::new();
    let before = [("db/a", "1"), ("bindings/x/a", "1"), ("k.env", "1"), ("old/a", "1"), ("r.env", "1")];
    place.publish(&before).unwrap();
    // Everything that a publication would repair.
    fs::write(place.path("db/..data/more"), "x").unwrap();
    fs::set_permissions(place.path("db"), PermissionsExt::from_mode(0o700)).unwrap();
    fs::remove_file(place.path("db/a")).unwrap();
    fs::remove_dir_all(place.path("bindings/x")).unwrap();
    fs::set_permissions(place.path("k.env"), PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(place.path("k.env"), "other").unwrap();
    let state = || {
        let times =
            ["db", "db/..data", "bindings", "k.env"].map(|name| fs::metadata(place.path(name)).unwrap());
        times.map(|status| (status.mode(), status.mtime(), status.mtime_nsec(), status.ino()))
    };
    let (kept, untouched) = (["bindings", "db", "k.env"], state());
    let changed = place.changed_keeping(&[("new", "1"), ("r.env", "2")], &kept);
    assert_eq!(changed, ["new", "old/a", "r.env"], "only what the other entries have");
    assert_eq!(state(), untouched);
    assert_eq!((place.read("db/..data/more"), place.read("k.env")), ("x".into(), "other".into()));
    assert_eq!(place.names(), ["..podcreds", "bindings", "db", "k.env", "new", "r.env"]);
    assert_eq!(place.record(), "podcreds volume 1\nbindings/\nbindings/x/\ndb/\nk.env\nnew\nr.env\n");
    let published = place.publish_keeping(&[("new", "1"), ("r.env", "2")], &kept);
    assert_eq!(published, Ok(Published::Unchanged));
    // Publishing them again repairs them.
    place.publish(&before[..3]).unwrap();
    assert_eq!(place.publish(&before[..3]), Ok(Published::Unchanged));
    assert_eq!(["db/a", "bindings/x/a", "k.env"].map(|path| place.read(path)), ["1", "1", "1"]);
    assert_eq!((place.read("db/..data/more"), place.mode("db")), ("NotFound".into(), 0o755));
}

#[test]
fn a_kept_entry_that_is_missing_stays_missing_and_recorded() {
    let place = Place::new();
    place.publish(&[("db/a", "1"), ("k.env", "1"), ("x", "1")]).unwrap();
    fs::remove_dir_all(place.path("db")).unwrap();
    fs::remove_file(place.path("k.env")).unwrap();
    assert_eq!(place.changed_keeping(&[("x", "2")], &["db", "k.env", "never-published"]), ["x"]);
    assert_eq!(place.names(), ["..podcreds", "x"]);
    assert_eq!(place.record(), "podcreds volume 1\ndb/\nk.env\nx\n");
    assert_eq!(place.entries(), ["x"]);
    place.publish(&[("db/a", "1"), ("k.env", "1"), ("x", "2")]).unwrap();
    assert_eq!(place.entries(), ["db", "k.env", "x"]);
}

#[test]
fn a_publication_that_does_not_keep_an_entry_removes_it() {
    let place = Place::new();
    place.publish(&[("db/a", "1"), ("bindings/x/a", "1"), ("k.env", "1")]).unwrap();
    let kept = ["bindings", "db", "k.env"];
    assert_eq!(place.publish_keeping(&[], &kept), Ok(Published::Unchanged));
    assert_eq!(place.changed(&[]), ["bindings/x/a", "db/a", "k.env"]);
    assert_eq!((place.names(), place.record()), (vec!["..podcreds".into()], "podcreds volume 1\n".into()));
}

/// The credential whose entry it is has never been published, and another program has taken its name.
#[test]
fn a_kept_name_may_belong_to_another_program() {
    let place = Place::new();
    fs::write(place.path("db"), "mine").unwrap();
    place.publish_keeping(&[("x", "1")], &["db"]).unwrap();
    assert_eq!((place.read("db"), place.record()), ("mine".into(), "podcreds volume 1\nx\n".into()));
    assert_eq!(place.entries(), ["x"]);
    assert!(place.publish(&[("x", "1")]).is_ok());
    assert_eq!(place.read("db"), "mine");
}

#[test]
fn old_versions_of_a_kept_entry_are_removed_after_their_grace_period() {
    let place = Place::with_grace(LONG);
    place.publish(&[("db/a", "1")]).unwrap();
    place.publish(&[("db/a", "2")]).unwrap();
    place.publish_keeping(&[], &["db"]).unwrap();
    assert_eq!(place.names_in("db"), ["..data", "..version", "..version", "a"]);
    let later = Volume::open(place.directory.path(), Duration::ZERO).unwrap();
    later.publish_keeping(&bundle(&[]), &BTreeSet::from(["db".to_owned()])).unwrap();
    assert_eq!(place.names_in("db"), ["..data", "..version", "..version", "a"]);
    later.prune();
    assert_eq!(place.names_in("db"), ["..data", "..version", "a"]);
}

#[test]
fn entries_are_those_that_have_everything_in_the_record() {
    let place = Place::new();
    assert!(place.entries().is_empty());
    fs::write(place.path("mine"), "x").unwrap();
    place.publish(&[("a.env", "1"), ("bindings/x/a", "1"), ("bindings/y/a", "1"), ("db/a", "1")]).unwrap();
    assert_eq!(place.entries(), ["a.env", "bindings", "db"]);
    fs::remove_dir_all(place.path("bindings/y")).unwrap();
    fs::remove_file(place.path("db/..data")).unwrap();
    assert_eq!(place.entries(), ["a.env"]);
    fs::remove_file(place.path("a.env")).unwrap();
    symlink("/etc/hostname", place.path("a.env")).unwrap();
    assert!(place.entries().is_empty());

    let place = Place::new();
    place.write_earlier_layout(&[("db/user", "1"), ("x.env", "1")]);
    assert!(place.entries().is_empty());
}

#[test]
fn after_an_interrupted_publication_only_whole_entries_count() {
    let place = Place::new();
    place.publish(&[("a.env", "1"), ("bindings/x/a", "1"), ("db/a", "1")]).unwrap();
    place.begin(&["bindings/y/", "new/", "new.env"]);
    assert_eq!(place.entries(), ["a.env", "db"]);
    // The first publication of all.
    let place = Place::new();
    place.begin(&["new/", "new.env"]);
    assert!(place.entries().is_empty());
}

#[test]
fn the_record_stays_incomplete_while_an_interrupted_entry_is_kept() {
    let place = Place::new();
    place.publish(&[("bindings/x/a", "1"), ("db/a", "1")]).unwrap();
    place.begin(&["bindings/y/"]);
    // The others are whole, so that keeping them does not matter.
    place.publish_keeping(&[("x", "1")], &["bindings", "db"]).unwrap();
    assert!(!place.is_complete());
    assert_eq!(place.publish_keeping(&[("x", "1")], &["bindings", "db"]), Ok(Published::Unchanged));
    place.publish_keeping(&[("bindings/x/a", "1"), ("bindings/y/a", "1"), ("x", "1")], &["db"]).unwrap();
    assert!(place.is_complete());
    assert_eq!(place.entries(), ["bindings", "db", "x"]);
}

#[test]
fn a_kept_entry_in_the_layout_of_earlier_releases_is_migrated_when_it_is_published() {
    let place = Place::new();
    place.write_earlier_layout(&[("db/user", "1"), ("x.env", "1"), ("gone", "1")]);
    assert_eq!(place.changed_keeping(&[("x.env", "1")], &["db"]), ["gone"]);
    assert!(place.path("db").is_symlink() && !place.is_complete());
    assert_eq!((place.read("db/user"), place.entries()), ("1".into(), vec!["x.env".to_owned()]));
    assert_eq!(place.changed(&[("db/user", "2"), ("x.env", "1")]), ["db/user"]);
    assert_eq!(place.names(), ["..podcreds", "db", "x.env"]);
    assert!(place.is_complete() && !place.path("db").is_symlink());
}

#[test]
fn changes_of_a_failed_publication_are_reported_although_the_rest_of_it_is_kept() {
    let place = Place::new();
    place.publish(&[("a/b", "1"), ("c", "1")]).unwrap();
    place.volume.unreported.lock().unwrap().insert("a/b".to_owned());
    assert_eq!(place.changed_keeping(&[("a/b", "1")], &["c"]), ["a/b"]);
    assert_eq!(place.publish_keeping(&[("a/b", "1")], &["c"]), Ok(Published::Unchanged));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "a file of the bundle is in a kept entry")]
fn a_bundle_has_no_file_in_a_kept_entry() {
    let _ = Place::new().publish_keeping(&[("db/a", "1")], &["db"]);
}

#[test]
fn a_fingerprint_changes_with_each_publication_that_changes_a_file_and_no_other() {
    let place = Place::new();
    let fingerprint = || Reader::open(place.directory.path()).unwrap().unwrap().fingerprint();
    let mut last = None;
    for files in [
        &[("db/password", "1"), ("db.env", "1")][..],
        &[("db/password", "2"), ("db.env", "1")],
        &[("db/password", "2"), ("db.env", "2")],
        &[("db/password", "2"), ("db.env", "2"), ("x.env", "")],
        &[("db/password", "2"), ("db.env", "2")],
        &[("db/password", "1"), ("db.env", "1")],
    ] {
        place.publish(files).unwrap();
        let new = fingerprint();
        assert_ne!(Some(new), last, "{files:?}");
        place.publish(files).unwrap();
        assert_eq!(fingerprint(), new, "{files:?}");
        last = Some(new);
    }
}
