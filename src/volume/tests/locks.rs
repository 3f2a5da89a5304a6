//! The locks of a volume.

use super::*;

/// A volume in which nothing is published yet, with podcreds' own directory.
fn state(place: &Place) -> State {
    State::open_or_create(place.volume.root.as_fd()).unwrap()
}

#[test]
fn concurrent_writers_do_not_mix_their_files() {
    let place = Place::new();
    let lock = state(&place).lock().unwrap();
    assert!(place.publish(&[("a", "1")]).unwrap_err().contains("locked by another process"));
    drop(lock);
    assert!(place.publish(&[("a", "1")]).is_ok());
}

#[test]
fn a_second_sidecar_is_rejected_and_the_holder_is_named() {
    let place = Place::new();
    let first = place.volume.lock_for_sidecar().unwrap().unwrap();
    // A publication of the sidecar, or of an `init` that runs meanwhile, does not take the lock away.
    place.publish(&[("a", "1")]).unwrap();
    place.publish(&[("b", "1")]).unwrap();
    let problem = state(&place).lock_for_sidecar(Duration::ZERO).unwrap_err();
    let message = Error::new(Path::new("/podcreds"), problem).to_string();
    let host = rustix::system::uname();
    let holder = format!("another podcreds sidecar (\"pid {} since 2", std::process::id());
    for part in [&*holder, &format!("Z on host {}\")", host.nodename().to_str().unwrap()), "run one sidecar"]
    {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    drop(first);
    assert!(state(&place).lock_for_sidecar(Duration::ZERO).is_ok());
}

#[test]
fn a_sidecar_of_another_pod_does_not_exclude_this_one() {
    let place = Place::new();
    let first = state(&place).lock_for_sidecar(Duration::ZERO).unwrap();
    let host = rustix::system::uname();
    let host = host.nodename().to_str().unwrap();
    for (holder, is_excluded) in [
        (format!("pid 1 since 2026-01-01T00:00:00Z on host {host}"), true),
        (format!("pid 1 since 2026-01-01T00:00:00Z on host {host}-2"), false),
        (String::new(), true),
    ] {
        fs::write(place.path("..podcreds/sidecar"), &holder).unwrap();
        let locked = place.volume.lock_for_sidecar();
        assert_eq!(locked.is_err(), is_excluded, "{holder}");
        assert!(locked.ok().flatten().is_none(), "{holder}");
    }
    drop(first);
    assert!(place.volume.lock_for_sidecar().unwrap().is_some());
}

#[test]
fn a_sidecar_starts_once_the_one_before_it_has_ended() {
    let place = Place::new();
    let first = state(&place).lock_for_sidecar(Duration::ZERO).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| state(&place).lock_for_sidecar(LONG).map(drop));
        drop(first);
        assert_eq!(second.join().unwrap(), Ok(()));
    });
}

#[test]
fn users_other_than_the_publisher_cannot_open_a_lock() {
    let place = Place::new();
    let names = ["..podcreds/lock", "..podcreds/sidecar"];
    let lock = || {
        place.publish(&[("a", "1")]).unwrap();
        drop(place.volume.lock_for_sidecar().unwrap());
    };
    lock();
    assert_eq!(names.map(|name| place.mode(name)), [0o600, 0o600]);
    for name in names {
        fs::set_permissions(place.path(name), PermissionsExt::from_mode(0o644)).unwrap();
    }
    lock();
    assert_eq!(names.map(|name| place.mode(name)), [0o600, 0o600]);
}

#[test]
fn something_else_in_the_place_of_a_lock_is_reported() {
    type Plant = fn(&Path);
    let plant: [Plant; 3] = [
        |path| rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR).unwrap(),
        |path| symlink("/etc/hostname", path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
    ];
    for plant in plant {
        let place = Place::new();
        let state = state(&place);
        plant(&place.path("..podcreds/lock"));
        plant(&place.path("..podcreds/sidecar"));
        let is_damaged = |problem, name| {
            assert_eq!(problem, Problem::Damaged { name: format!("..podcreds/{name}") });
        };
        is_damaged(state.lock().unwrap_err(), "lock");
        is_damaged(state.lock_for_sidecar(Duration::ZERO).unwrap_err(), "sidecar");
        assert!(place.publish(&[("a", "1")]).is_err());
    }
}

#[test]
fn a_lock_of_another_user_is_reported() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    place.publish(&[("a", "1")]).unwrap();
    chown(place.path("..podcreds/lock"), Some(1234), None).unwrap();
    let message = place.publish(&[("a", "2")]).unwrap_err();
    assert!(message.contains("podcreds wrote its files as uid 1234 but now runs as uid 0"), "{message}");
    assert!(message.contains("set the same runAsUser") && !message.contains("fsGroup"), "{message}");
}

/// Another process that may write to the volume was there first.
#[test]
fn something_else_in_the_place_of_podcreds_own_directory_is_reported_with_its_owner() {
    let is_root = rustix::process::geteuid().is_root();
    for owner in if is_root { &[0, 1234][..] } else { &[][..] } {
        let place = Place::new();
        symlink("/etc", place.path("..podcreds")).unwrap();
        std::os::unix::fs::lchown(place.path("..podcreds"), Some(*owner), None).unwrap();
        let message = Volume::open(place.directory.path(), LONG).unwrap_err().to_string();
        let part = format!(
            "\"..podcreds\" exists, belongs to uid {owner} and was not written by podcreds: remove it"
        );
        assert!(message.contains(&part), "{message}");
    }
}
