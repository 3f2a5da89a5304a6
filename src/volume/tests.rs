use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;
use crate::bundle::BundleFile;
use crate::credential::RelativePath;

const LONG: Duration = Duration::from_secs(3600);

struct Place {
    folder: TempDir,
    volume: Volume,
}

impl Place {
    fn with_grace(grace: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(folder.path(), grace).unwrap();
        Self { folder, volume }
    }

    fn new() -> Self {
        Self::with_grace(Duration::ZERO)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| format!("{:?}", error.kind()))
    }

    fn publish(&self, files: &[(&str, &str)]) -> Result<Published, String> {
        self.volume.publish(&bundle(files)).map_err(|error| error.to_string())
    }

    /// Every name at the top, sorted; a version as `..version`.
    fn names(&self) -> Vec<String> {
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let short = |name: String| if name.starts_with("..2") { "..version".to_owned() } else { name };
        let mut names: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| short(name(entry.unwrap()))).collect();
        names.sort();
        names
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().mode() & 0o7777
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
fn the_layout_is_the_kubelets() {
    let place = Place::new();
    assert!(matches!(place.publish(&[("db/user", "a"), ("x.env", "b")]), Ok(Published::Swapped { .. })));
    assert_eq!(place.names(), ["..data", "..version", "db", "x.env"]);
    assert_eq!(fs::read_link(place.path("db")).unwrap(), Path::new("..data/db"));
    let target = fs::read_link(place.path("..data")).unwrap();
    assert!(target.to_str().unwrap().starts_with("..20") && place.path("..data").is_dir());
    assert_eq!((place.read("db/user"), place.read("x.env")), ("a".into(), "b".into()));
}

#[test]
fn a_new_bundle_replaces_the_old_one_whole() {
    let place = Place::new();
    place.publish(&[("old", "1"), ("both/a", "1"), ("kind", "file")]).unwrap();
    place.publish(&[("new", "2"), ("both/b", "2"), ("kind/a", "folder")]).unwrap();
    // Without a grace the version before the last swap goes with the next run.
    place.publish(&[("new", "2"), ("both/b", "2"), ("kind/a", "folder")]).unwrap();
    assert_eq!(place.names(), ["..data", "..version", "both", "kind", "new"]);
    assert_eq!(place.read("kind/a"), "folder");
    assert!(!place.path("both/a").exists());
}

#[test]
fn an_unchanged_bundle_is_not_written_again() {
    let place = Place::new();
    place.publish(&[("a/b", "1"), ("c@0400", "2")]).unwrap();
    let before = (
        fs::read_link(place.path("..data")).unwrap(),
        fs::metadata(place.folder.path()).unwrap().mtime_nsec(),
    );
    assert_eq!(place.publish(&[("a/b", "1"), ("c@0400", "2")]), Ok(Published::Unchanged));
    let after = (
        fs::read_link(place.path("..data")).unwrap(),
        fs::metadata(place.folder.path()).unwrap().mtime_nsec(),
    );
    assert_eq!(before, after);
}

#[test]
fn any_difference_is_seen() {
    let place = Place::new();
    let files = [("a/b", "1"), ("c", "22")];
    type Damage = (&'static str, fn(&Place));
    let damage: [Damage; 7] = [
        ("content", |place| fs::write(place.path("c"), "33").unwrap()),
        ("length", |place| fs::write(place.path("c"), "222").unwrap()),
        ("mode", |place| fs::set_permissions(place.path("c"), PermissionsExt::from_mode(0o400)).unwrap()),
        ("folder mode", |place| {
            fs::set_permissions(place.path("a"), PermissionsExt::from_mode(0o700)).unwrap()
        }),
        ("one file more", |place| fs::write(place.path("a/x"), "").unwrap()),
        ("one file less", |place| fs::remove_file(place.path("a/b")).unwrap()),
        ("a link for a file", |place| {
            fs::remove_file(place.path("a/b")).unwrap();
            symlink("../c", place.path("a/b")).unwrap();
        }),
    ];
    for (what, damage) in damage {
        place.publish(&files).unwrap();
        // As root or owner, modes do not keep the test from writing.
        fs::set_permissions(place.path("c"), PermissionsExt::from_mode(0o644)).unwrap();
        damage(&place);
        fs::set_permissions(
            place.path("c"),
            PermissionsExt::from_mode(if what == "mode" { 0o400 } else { 0o444 }),
        )
        .unwrap();
        assert!(matches!(place.publish(&files), Ok(Published::Swapped { .. })), "{what}");
        assert_eq!((place.read("a/b"), place.read("c")), ("1".into(), "22".into()), "{what}");
    }
}

#[test]
fn modes_come_from_the_volume_or_the_credential() {
    let place = Place::new();
    place.publish(&[("a/b", "1"), ("c@0600", "2"), ("d/e@0400", "3")]).unwrap();
    assert_eq!(["a/b", "c", "d/e"].map(|name| place.mode(name)), [0o444, 0o600, 0o400]);
    assert_eq!(["a", "d", "..data"].map(|name| place.mode(name)), [0o755, 0o700, 0o755]);

    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), PermissionsExt::from_mode(0o2777)).unwrap();
    let place = Place { volume: Volume::open(shared.path(), LONG).unwrap(), folder: shared };
    place.publish(&[("a/b", "1")]).unwrap();
    assert_eq!(["a/b", "a", "..data"].map(|name| place.mode(name)), [0o440, 0o2750, 0o2750]);
    place.publish(&[("a/b", "1"), ("c@0444", "2")]).unwrap();
    assert_eq!(place.mode("..data"), 0o2755, "a file for everybody must be reachable by everybody");
}

#[test]
fn a_reader_in_the_old_version_can_finish() {
    let place = Place::with_grace(LONG);
    place.publish(&[("user", "1"), ("password", "1")]).unwrap();
    let old = fs::canonicalize(place.path("..data")).unwrap();
    place.publish(&[("user", "2"), ("password", "2")]).unwrap();
    place.publish(&[("user", "2"), ("password", "2")]).unwrap();
    assert_eq!(fs::read_to_string(old.join("password")).unwrap(), "1");
    assert_eq!(place.names(), ["..data", "..version", "..version", "password", "user"]);
}

#[test]
fn leftovers_are_cleared_and_nothing_else() {
    let place = Place::new();
    fs::create_dir_all(place.path("..2026_01_01_00_00_00.000000000/a/b")).unwrap();
    fs::write(place.path("..2026_01_01_00_00_00.000000000/a/b/c"), "x").unwrap();
    symlink("..2026_01_01_00_00_00.000000000", place.path("..data_tmp")).unwrap();
    fs::create_dir(place.path("..mine")).unwrap();
    fs::write(place.path("mine"), "x").unwrap();
    symlink("elsewhere/link", place.path("link")).unwrap();
    place.publish(&[("a", "1")]).unwrap();
    assert_eq!(place.names(), ["..data", "..mine", "..version", "a", "link", "mine"]);
}

#[test]
fn versions_do_not_pile_up_however_fast_they_follow() {
    let place = Place::with_grace(LONG);
    let last = KEPT_VERSIONS + 10;
    (0..=last).for_each(|n| drop(place.publish(&[("a", &n.to_string())])));
    assert_eq!(place.names().len(), 3 + KEPT_VERSIONS);
    assert_eq!(place.read("a"), last.to_string());
}

#[test]
fn unfinished_versions_go_at_once_and_without_a_grace_old_ones_too() {
    let place = Place::with_grace(LONG);
    place.publish(&[("a", "1")]).unwrap();
    // Newer than the current one, so it was never swapped in.
    fs::create_dir(place.path("..2999_01_01_00_00_00.000000000")).unwrap();
    place.publish(&[("a", "1")]).unwrap();
    assert_eq!(place.names(), ["..data", "..version", "a"]);

    let place = Place::new();
    place.publish(&[("a", "1")]).unwrap();
    place.publish(&[("a", "2")]).unwrap();
    assert_eq!(place.names(), ["..data", "..version", "a"]);
}

#[test]
fn a_name_that_is_taken_is_passed_over_and_kept() {
    let place = Place::with_grace(LONG);
    let files = bundle(&[("a", "1")]);
    let folder = Folder::of(&files, FileMode::WORLD);
    let (first, _) = place.volume.make_version(&folder).unwrap();
    for nanosecond in 1..50_u64 {
        let taken = VersionName::new(SystemTime::now() + Duration::from_nanos(nanosecond));
        let _ = tree::make(place.volume.root.as_fd(), taken.as_str(), &folder);
    }
    let (second, _) = place.volume.make_version(&folder).unwrap();
    assert!(second > first && place.path(first.as_str()).is_dir());
    assert_eq!(tree::make(place.volume.root.as_fd(), first.as_str(), &folder).unwrap_err(), Errno::EXIST);
}

#[test]
fn a_leftover_that_is_a_link_leads_nowhere() {
    let (place, outside) = (Place::new(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("keep"), "x").unwrap();
    symlink(outside.path(), place.path("..2026_01_01_00_00_00.000000000")).unwrap();
    fs::create_dir(place.path("..2026_01_01_00_00_00.000000001")).unwrap();
    symlink(outside.path(), place.path("..2026_01_01_00_00_00.000000001/in")).unwrap();
    place.publish(&[("a", "1")]).unwrap();
    assert!(outside.path().join("keep").exists());
    assert!(!place.path("..2026_01_01_00_00_00.000000001").exists());
}

#[test]
fn what_podcreds_did_not_write_is_never_touched() {
    let outside = tempfile::tempdir().unwrap();
    type Plant = (&'static str, fn(&Path, &Path));
    let plant: [Plant; 4] = [
        ("a file", |path, _| fs::write(path, "mine").unwrap()),
        ("a folder", |path, _| fs::create_dir(path).unwrap()),
        ("a link that leads out", |path, outside| symlink(outside, path).unwrap()),
        ("a link to another name", |path, _| symlink("..data/other", path).unwrap()),
    ];
    for (what, plant) in plant {
        for name in ["db", "..data", "..data_tmp"] {
            // A link of that name is what a run leaves that was killed.
            if name == "..data_tmp" && what.starts_with("a link") {
                continue;
            }
            let place = Place::new();
            plant(&place.path(name), outside.path());
            let message = place.publish(&[("db/user", "1")]).unwrap_err();
            assert!(message.contains("was not written by podcreds"), "{what} {name}: {message}");
            assert_eq!(place.names(), [name], "{what}");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{what} {name}");
        }
    }
}

#[test]
fn a_version_that_leads_out_is_not_followed() {
    let (place, outside) = (Place::new(), tempfile::tempdir().unwrap());
    fs::create_dir(outside.path().join("db")).unwrap();
    fs::write(outside.path().join("db/user"), "theirs").unwrap();
    symlink(outside.path(), place.path("..2026_01_01_00_00_00.000000000")).unwrap();
    symlink("..2026_01_01_00_00_00.000000000", place.path("..data")).unwrap();
    place.publish(&[("db/user", "ours")]).unwrap();
    assert_eq!(place.read("db/user"), "ours");
    assert_eq!(fs::read_to_string(outside.path().join("db/user")).unwrap(), "theirs");
}

#[test]
fn a_failure_leaves_the_old_bundle_and_no_traces() {
    let place = Place::new();
    place.publish(&[("a", "1")]).unwrap();
    let before = place.names();
    fs::write(place.path("b"), "mine").unwrap();
    assert!(place.publish(&[("a", "2"), ("b", "2"), ("c", "2")]).is_err());
    fs::remove_file(place.path("b")).unwrap();
    assert_eq!((place.names(), place.read("a")), (before, "1".into()));
}

#[test]
fn two_writers_do_not_mix() {
    let place = Place::new();
    let other = Volume::open(place.folder.path(), LONG).unwrap();
    other.lock().unwrap();
    assert!(place.publish(&[("a", "1")]).unwrap_err().contains("another process holds the lock"));
    drop(other);
    assert!(place.publish(&[("a", "1")]).is_ok());
}

#[test]
fn a_missing_volume_and_a_file_for_a_volume_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| Volume::open(path, LONG).unwrap_err().to_string();
    assert!(message(&folder.path().join("none")).contains("is not there: mount an emptyDir"));
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(message(&folder.path().join("file")).contains("is no folder"));
}

#[test]
fn an_empty_bundle_clears_the_volume() {
    let place = Place::new();
    place.publish(&[("a", "1")]).unwrap();
    place.publish(&[]).unwrap();
    place.publish(&[]).unwrap();
    assert_eq!(place.names(), ["..data", "..version"]);
}

#[test]
fn a_reader_that_resolves_data_once_never_sees_a_mix() {
    let place = Place::with_grace(LONG);
    let files = |n: &str| [("user", n.repeat(3)), ("password", n.repeat(5000))];
    let publish = |n: &str| {
        let files = files(n);
        place.publish(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)]).unwrap()
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
            let version = fs::canonicalize(place.path("..data")).unwrap();
            let (user, password) = (
                fs::read_to_string(version.join("user")).unwrap(),
                fs::read_to_string(version.join("password")).unwrap(),
            );
            let n = &user[..1];
            assert_eq!((user.as_str(), password.as_str()), (n.repeat(3).as_str(), n.repeat(5000).as_str()));
            seen += 1;
        }
    });
}

#[test]
fn a_reader_sees_one_version_and_knows_when_it_is_no_longer_current() {
    let read = |version: &Version, path: &str| {
        let content = version.read(&RelativePath::parse(path).unwrap()).unwrap()?;
        Some(content.expose_text().unwrap().to_owned())
    };
    let place = Place::with_grace(LONG);
    let open = || Version::open(place.folder.path()).unwrap();
    assert!(open().is_none());
    place.publish(&[("a", "1"), ("b/c", "1")]).unwrap();
    let version = open().unwrap();
    assert_eq!(version.paths().unwrap().len(), 2);
    assert_eq!(read(&version, "a").as_deref(), Some("1"));
    assert!(version.is_current().unwrap());
    place.publish(&[("a", "2"), ("b/c", "2")]).unwrap();
    assert_eq!(read(&version, "b/c").as_deref(), Some("1"));
    assert!(!version.is_current().unwrap());
    for path in ["b", "b/d", "a/b", "none"] {
        assert_eq!(read(&version, path), None, "{path}");
    }
    // What stands in a version and leads elsewhere was not written by podcreds.
    symlink("/etc/hostname", place.path("..data/link")).unwrap();
    assert!(open().unwrap().read(&RelativePath::parse("link").unwrap()).is_err());
}
