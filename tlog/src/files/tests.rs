//! Every kind of place, and every kind of obstacle.

use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt as _, symlink};

use proptest::prelude::*;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A named pipe.
fn make_fifo(path: &Path) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
}

/// A device of the test's own, so that a fault replaces none of the machine's; without root, which alone could, a link.
fn device(folder: &Path, name: &str, minor: u32) -> PathBuf {
    let (path, number) = (folder.join(name), rustix::fs::makedev(1, minor));
    let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o666));
    let made = rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, number);
    if made.is_err() || open_in_place(&path).is_err() {
        let _ = fs::remove_file(&path);
        symlink(Path::new("/dev").join(name), &path).unwrap();
    }
    path
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Any name that the file system takes, up to 255 bytes, old content or none, behind any number of links.
    #[test]
    fn a_plain_file_is_written_whole_under_any_name_and_behind_links(
        name in proptest::collection::vec(prop::sample::select((1..=255).filter(|b| *b != b'/').collect::<Vec<u8>>()), 1..=255),
        old in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..100)),
        new in proptest::collection::vec(any::<u8>(), 0..100),
        links in 0..4_usize,
    ) {
        prop_assume!(name != b"." && name != b"..");
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join(std::ffi::OsString::from_vec(name));
        if let Some(old) = &old {
            fs::write(&target, old).unwrap();
        }
        let away = tempfile::tempdir().unwrap();
        let mut path = target.clone();
        for link in 0..links {
            let next = away.path().join(format!("link{link}"));
            if link == 1 {
                // A link before the last component: to the folder that the path so far is in.
                symlink(path.parent().unwrap(), &next).unwrap();
                path = next.join("..").join(path.parent().unwrap().file_name().unwrap()).join(path.file_name().unwrap());
            } else {
                symlink(&path, &next).unwrap();
                path = next;
            }
        }
        let destination = Destination::prepare(&path, 1000).unwrap();
        prop_assert_eq!(target.exists(), old.is_some(), "nothing is written beforehand");
        destination.write(&new).unwrap();
        prop_assert_eq!(fs::read(&target).unwrap(), new);
        prop_assert_eq!(names(folder.path()).len(), 1, "no temporary file is left");
        prop_assert_eq!(names(away.path()).len(), links);
    }
}

#[test]
fn what_cannot_be_written_is_found_before() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "x").unwrap();
    symlink(at("loop"), at("loop")).unwrap();
    symlink(at("nosuch/target"), at("dangling")).unwrap();
    for (path, kind) in [
        (at(""), ErrorKind::IsADirectory),
        (at("nosuch/file"), ErrorKind::NotFound),
        (at("nosuch/"), ErrorKind::NotFound),
        (at("dangling"), ErrorKind::NotFound),
        (at("file/below"), ErrorKind::NotADirectory),
        (at(&"x".repeat(256)), ErrorKind::InvalidFilename),
        (at("loop"), ErrorKind::InvalidInput),
        (PathBuf::new(), ErrorKind::InvalidInput),
        (PathBuf::from("/dev/fd/987"), ErrorKind::NotFound),
    ] {
        let refused = Destination::prepare(&path, 1).map(drop).unwrap_err();
        assert_eq!(refused.kind(), kind, "{}: {refused}", path.display());
    }
    assert_eq!(names(folder.path()), ["dangling", "file", "loop"]);
}

#[test]
fn a_link_in_the_place_of_a_temporary_file_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (victim, place) = (folder.path().join("victim"), folder.path().join("place"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &place).unwrap();
    assert_eq!(create(&place, PRIVATE, b"x").unwrap_err().kind(), ErrorKind::AlreadyExists);
    open_in_place(&place).unwrap_err();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    let names: Vec<_> = (0..100).map(|_| temporary(&place).unwrap()).collect();
    assert!(names.iter().enumerate().all(|(i, name)| !names[..i].contains(name)));
}

#[test]
fn links_and_files_of_others_in_a_shared_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (link, fifo) = (folder.path().join("link"), folder.path().join("fifo"));
    symlink(folder.path().join("target"), &link).unwrap();
    make_fifo(&fifo);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    Destination::prepare(&link, 1).expect("one's own link may stand anywhere");
    if !rustix::process::geteuid().is_root() {
        // Only root can make a link of another user; the integration test does it in a user namespace.
        return;
    }
    for path in [&link, &fifo] {
        std::os::unix::fs::lchown(path, Some(65_534), None).unwrap();
        std::os::unix::fs::lchown(folder.path(), Some(65_533), None).unwrap();
        let refused = Destination::prepare(path, 1).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    Destination::prepare(&link, 1).unwrap();
}

/// The links of others stand anywhere in a path, and in the path that one's own link leads to.
#[test]
fn links_of_others_are_refused_in_every_component() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["shared", "real", "real/below"] {
        fs::create_dir(at(name)).unwrap();
    }
    symlink("../real", at("shared/link")).unwrap();
    symlink("shared/link/below", at("own")).unwrap();
    symlink("link/below/dangling", at("shared/own")).unwrap();
    let paths = [
        "shared/link/file",
        "shared/link/below/file",
        "shared/../shared/./link/file",
        "own/file",
        "shared/own",
    ];
    for path in paths {
        Destination::prepare(&at(path), 1).expect("one's own links may stand anywhere");
    }
    fs::set_permissions(at("shared"), Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::lchown(at("shared/link"), Some(65_534), None).unwrap();
    for path in paths {
        let refused = Destination::prepare(&at(path), 1).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{path}: {refused}");
        assert!(refused.to_string().contains("a link of another user"), "{path}: {refused}");
    }
    Destination::prepare(&at("real/below/file"), 1).unwrap();
}

/// Whatever a descriptor was opened for: it is written to if it can be, and a file that is read from stays as it is.
#[test]
fn descriptors_are_written_to_only_if_they_are_open_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("release.tar");
    let (reader, writer) = io::pipe().unwrap();
    let options = |flags: OFlags| {
        fs::write(&path, "precious").unwrap();
        rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap()
    };
    let write = |number: i32| {
        let path = PathBuf::from(format!("/dev/fd/{number}"));
        Destination::prepare(&path, 1).and_then(|destination| destination.write(b"new"))
    };
    for (flags, content) in [
        (OFlags::RDONLY, None),
        (OFlags::PATH, None),
        (OFlags::WRONLY, Some("newcious")),
        (OFlags::RDWR, Some("newcious")),
        (OFlags::WRONLY | OFlags::APPEND, Some("preciousnew")),
    ] {
        let file = options(flags);
        let number = file.as_raw_fd();
        let said = destination::is_writable(u32::try_from(number).unwrap()).unwrap();
        assert_eq!(said, content.is_some(), "{flags:?}: by its text");
        match content {
            Some(_) => write(number).unwrap(),
            None => assert_eq!(write(number).unwrap_err().kind(), ErrorKind::PermissionDenied, "{flags:?}"),
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), content.unwrap_or("precious"), "{flags:?}");
    }
    assert_eq!(write(reader.as_raw_fd()).unwrap_err().kind(), ErrorKind::PermissionDenied);
    write(writer.as_raw_fd()).unwrap();
    // The descriptor's owner goes on after what was written.
    let mut file = File::create(&path).unwrap();
    file.write_all(b"before ").unwrap();
    write(file.as_raw_fd()).unwrap();
    file.write_all(b" after").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "before new after");
}

#[test]
fn what_is_written_in_place_is_whole_and_as_long_as_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for old in ["", "short", &"longer than the new content ".repeat(1000)] {
        fs::write(&path, old).unwrap();
        overwrite(open_in_place(&path).unwrap(), b"new content").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new content");
    }
    // More than any disk has: nothing of what is there changes.
    let file = open_in_place(&path).unwrap();
    let refused = reserve(&file, 1 << 60).map_err(|error| error.kind());
    assert!(matches!(refused, Err(ErrorKind::StorageFull | ErrorKind::FileTooLarge)), "{refused:?}");
    assert_eq!(fs::read(&path).unwrap(), b"new content");
}

#[test]
fn devices_fifos_and_descriptors_are_written_to_and_stay_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (null, full) = (device(folder.path(), "null", 3), device(folder.path(), "full", 7));
    Destination::prepare(&null, 1).unwrap().write(b"x").unwrap();
    assert!(fs::metadata(&null).unwrap().file_type().is_char_device());
    let refused = Destination::prepare(&full, 1).unwrap().write(b"x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);

    let fifo = folder.path().join("fifo");
    make_fifo(&fifo);
    let path = fifo.clone();
    let reader = std::thread::spawn(move || fs::read(path).unwrap());
    let content = vec![b'x'; 300_000];
    Destination::prepare(&fifo, 1).unwrap().write(&content).unwrap();
    assert_eq!(reader.join().unwrap(), content, "more than a pipe holds");

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before ").unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Destination::prepare(&path, 1).unwrap().write(b"after").unwrap();
    let mut content = String::new();
    io::Seek::rewind(&mut file).unwrap();
    file.read_to_string(&mut content).unwrap();
    assert_eq!(content, "before after");
}

#[test]
fn standard_output_has_several_names() {
    for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        assert!(Destination::prepare(Path::new(name), 1).unwrap().is_stdout(), "{name}");
    }
}

#[test]
fn the_mode_of_a_replaced_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    write(&path, b"new").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_link_is_replaced_and_its_target_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (victim, link) = (folder.path().join("victim"), folder.path().join("link"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &link).unwrap();
    replace(&link, PRIVATE, b"new").unwrap();
    assert_eq!(
        (fs::read(&victim).unwrap(), fs::read(&link).unwrap()),
        (b"precious".to_vec(), b"new".to_vec())
    );
    assert_eq!(fs::symlink_metadata(&link).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn leftovers_are_removed_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(temporary(&folder.path().join("x")).unwrap(), "half").unwrap();
    for name in [".chancery-mine.new", "chancery-0123456789abcdef.new", "ct"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    remove_leftovers(folder.path());
    assert_eq!(names(folder.path()), [".chancery-mine.new", "chancery-0123456789abcdef.new", "ct"]);
}

#[test]
fn a_rescue_is_private_and_goes_to_the_first_folder_that_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let folders = [folder.path().join("nosuch"), folder.path().to_owned()];
    let path = rescue(&folders, "bundle.json", b"precious").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(rescue(&folders[..1], "bundle.json", b"x"), None);
}
