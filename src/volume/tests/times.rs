//! Which publications count as a change for a process that compares the times of files with its own start.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Timespec, Timestamps, utimensat};

use super::*;

/// The time that [`age_all`] sets.
const OLD: SystemTime = UNIX_EPOCH;

fn times(place: &Place) -> Option<Times> {
    Reader::open(place.directory.path()).unwrap().and_then(|reader| reader.times())
}

/// The entries that were written since [`age_all`].
fn written(place: &Place) -> Vec<String> {
    let entries = times(place).unwrap().entries.into_iter();
    entries.filter(|(_, time)| *time > OLD).map(|(entry, _)| entry).collect()
}

/// Makes everything that is published old.
fn age_all(place: &Place) {
    let old = Timespec { tv_sec: 0, tv_nsec: 0 };
    let times_of_old = Timestamps { last_access: old, last_modification: old };
    for (entry, _) in times(place).unwrap().entries {
        let path = if entry.ends_with('/') { format!("{entry}..data") } else { entry };
        utimensat(&place.volume.root, path, &times_of_old, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

#[test]
fn only_what_changed_has_a_new_time() {
    let place = Place::new();
    let first = [("a.env", "1"), ("db/user", "1"), ("db/password", "1"), ("in/tls/key", "1")];
    place.publish(&first).unwrap();
    // A directory that holds only directories has no files of its own.
    assert_eq!(written(&place), ["a.env", "db/", "in/tls/"]);
    age_all(&place);
    place.publish(&first).unwrap();
    assert_eq!(written(&place), [""; 0], "nothing has changed");
    place.publish(&[("a.env", "1"), ("db/user", "1"), ("db/password", "2"), ("in/tls/key", "1")]).unwrap();
    assert_eq!(written(&place), ["db/"]);
    place.publish(&[("a.env", "2"), ("db/user", "1"), ("db/password", "2"), ("in/tls/key", "2")]).unwrap();
    assert_eq!(written(&place), ["a.env", "db/", "in/tls/"]);
    age_all(&place);
    place.publish(&[("a.env", "2"), ("db/user", "1"), ("db/password", "2")]).unwrap();
    assert_eq!(written(&place), [""; 0], "removed");
}

/// The content may have been wrong for as long as the application read it.
#[test]
fn a_repair_has_a_new_time() {
    let place = Place::new();
    let files = [("a.env", "1"), ("db/user", "1")];
    place.publish(&files).unwrap();
    for damaged in ["a.env", "db/user"] {
        age_all(&place);
        fs::set_permissions(place.path(damaged), PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(place.path(damaged), "other").unwrap();
        age_all(&place);
        place.publish(&files).unwrap();
        assert_eq!(written(&place), [if damaged == "a.env" { "a.env" } else { "db/" }], "{damaged}");
    }
}

#[test]
fn the_time_of_a_directory_is_that_of_the_clock_not_of_its_version_name() {
    let place = Place::new();
    place.publish(&[("db/user", "1")]).unwrap();
    // The name that the clock gave before it was set back.
    let (version, later) =
        (fs::read_link(place.path("db/..data")).unwrap(), "..2999_01_01_00_00_00.000000000");
    fs::rename(place.path("db").join(version), place.path("db").join(later)).unwrap();
    fs::remove_file(place.path("db/..data")).unwrap();
    symlink(later, place.path("db/..data")).unwrap();
    place.publish(&[("db/user", "2")]).unwrap();
    assert!(fs::read_link(place.path("db/..data")).unwrap().as_os_str() > std::ffi::OsStr::new(later));
    let (_, time) = &times(&place).unwrap().entries[0];
    assert!(*time <= SystemTime::now());
}

#[test]
fn the_first_publication_has_a_beginning_and_an_end() {
    let place = Place::new();
    assert!(times(&place).is_none());
    let _sidecar = place.volume.lock_for_sidecar().unwrap();
    place.volume.prune();
    assert!(!place.path("..podcreds/lock").exists(), "waiting is not the beginning");
    place.publish(&[("a.env", "1"), ("db/user", "1")]).unwrap();
    let first = times(&place).unwrap();
    assert!(first.entries.iter().all(|(_, time)| (first.begun..=first.named).contains(time)), "{first:?}");
    place.publish(&[("a.env", "2"), ("db/user", "2")]).unwrap();
    let second = times(&place).unwrap();
    assert_eq!((second.begun, second.named), (first.begun, first.named));
}

#[test]
fn files_of_other_users_and_links_have_no_time() {
    let place = Place::new();
    place.publish(&[("a.env", "1"), ("b.env", "1")]).unwrap();
    fs::remove_file(place.path("a.env")).unwrap();
    symlink("b.env", place.path("a.env")).unwrap();
    let entries = times(&place).unwrap().entries;
    assert!(entries.iter().map(|(entry, _)| entry).eq(["b.env"]), "{entries:?}");
}
