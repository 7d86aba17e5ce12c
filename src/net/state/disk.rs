//! Files that are replaced as a whole: found through symbolic links, read without blocking, and never written
//! through a planted link.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The longest file that is read: no state is longer.
pub(crate) const MAX_LEN: u64 = 16 << 20;

/// The most copies of one kind beside a file.
const COPIES: u32 = 10;

/// The most symbolic links that are followed to a file that does not exist yet, as on Linux.
const LINKS: u32 = 40;

/// The end of the name of a file that is being written.
const NEW: &str = ".new";

/// The end of the name of the copy that stands beside a file while it is overwritten in place.
const RESCUE: &str = ".rescue";

/// Digits of the random part of the name of a new file.
const DIGITS: usize = 16;

/// The age from which on a file that is being written has been left by a killed program.
const ABANDONED: Duration = Duration::from_secs(60);

/// Resolves the symbolic links of a path, to a regular file or to one that does not exist yet.
///
/// # Errors
///
/// The path leads to something else than a regular file, which has not been opened.
pub(crate) fn locate(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => fs::canonicalize(path),
        Ok(metadata) => Err(no_file(metadata.file_type())),
        Err(error) if error.kind() == ErrorKind::NotFound => follow(path),
        Err(error) => Err(error),
    }
}

/// Reads a whole regular file.
///
/// # Errors
///
/// The system's, or one of kind `InvalidData` if it is longer than [`MAX_LEN`].
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (mut bytes, too_long) = (Vec::new(), "it is longer than any saved state");
    let file = open(path, OpenOptions::new().read(true))?;
    if file.metadata()?.len() > MAX_LEN {
        return Err(io::Error::new(ErrorKind::InvalidData, too_long));
    }
    file.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(io::Error::new(ErrorKind::InvalidData, too_long));
    }
    Ok(bytes)
}

/// Opens an existing regular file, but no link and nothing that blocks.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // The path may lead elsewhere since it was located.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(no_file(kind)) }
}

/// Replaces a file by writing beside it and renaming: on one file system that is a change in one step.
///
/// A file that cannot be replaced because it is a mount of its own, as in a container, is overwritten in
/// place; until that has reached the disk, a copy stands beside it for [`rescue`].
pub(crate) fn replace(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let (new, mut file) = create_new(target)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    drop(file);
    let done = written.and_then(|()| match fs::rename(&new, target) {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            let copy = beside(target, RESCUE);
            fs::rename(&new, &copy)?;
            sync_folder(target);
            overwrite(target, bytes)?;
            fs::remove_file(copy)
        }
        done => done,
    });
    if done.is_err() {
        let _ = fs::remove_file(&new);
    }
    // A rename lasts once the folder is written.
    sync_folder(target);
    done
}

/// Reads the copy that [`replace`] has left when it was interrupted while it overwrote a file in place.
pub(crate) fn rescue(target: &Path) -> Option<Vec<u8>> {
    let copy = beside(target, RESCUE);
    let bytes = read(&copy).ok()?;
    is_ours(&copy).then_some(bytes)
}

/// Removes a file, or empties it where it is a mount of its own.
pub(crate) fn remove(target: &Path) -> io::Result<()> {
    let _ = fs::remove_file(beside(target, RESCUE));
    match fs::remove_file(target) {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => overwrite(target, &[]),
        done => done,
    }
}

/// Moves a file to its name with a suffix, and returns the new path. There are ten such names at most, and then the
/// oldest file is replaced. A file with the same content is kept instead.
pub(crate) fn set_aside(target: &Path, suffix: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let (mut free, mut oldest) = (None, None);
    for path in names(target, suffix) {
        if holds(&path, bytes) {
            let removed = fs::remove_file(target);
            return removed.or_else(unless_busy).map(|()| path);
        }
        match fs::symlink_metadata(&path) {
            Ok(metadata) => {
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                oldest = oldest.into_iter().chain([(modified, path)]).min();
            }
            Err(_) => free = free.or(Some(path)),
        }
    }
    let Some(path) = free.or_else(|| oldest.map(|(_, path)| path)) else { return Err(too_many()) };
    match fs::rename(target, &path) {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            replace(&path, bytes)?;
        }
        renamed => renamed?,
    }
    Ok(path)
}

/// Copies a file to its name with a suffix, of which there are ten at most, unless one of them has the same
/// content.
pub(crate) fn copy(target: &Path, suffix: &str, bytes: &[u8]) -> io::Result<()> {
    for path in names(target, suffix) {
        if holds(&path, bytes) {
            return Ok(());
        }
        match exclusive().open(&path) {
            Ok(mut file) => {
                let written = file.write_all(bytes).and_then(|()| file.sync_all());
                return written.inspect_err(|_| drop(fs::remove_file(&path)));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(too_many())
}

/// Removes the unfinished files that killed programs have left beside a file.
pub(crate) fn sweep(target: &Path) {
    let own = beside(target, ".");
    let Some(own) = own.file_name().map(OsStr::as_encoded_bytes) else { return };
    let is_left = |entry: &DirEntry| {
        let name = entry.file_name();
        let middle = name.as_encoded_bytes().strip_prefix(own)?.strip_suffix(NEW.as_bytes())?;
        // Earlier versions used a number.
        let is_ours = middle.iter().all(u8::is_ascii_digit)
            || middle.len() == DIGITS && middle.iter().all(u8::is_ascii_hexdigit);
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok()?.elapsed().ok()?;
        Some(is_ours && age > ABANDONED)
    };
    let entries = fs::read_dir(folder(target)).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_left(entry) == Some(true)) {
        let _ = fs::remove_file(entry.path());
    }
}

/// The folder of a file.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Appends a suffix to the name of a file.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Follows links to the path where a file does not exist yet.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(link) => path = folder(&path).join(link),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Creates a file beside another one, under an unpredictable name.
fn create_new(target: &Path) -> io::Result<(PathBuf, File)> {
    let mut random = [0; DIGITS / 2];
    getrandom::fill(&mut random)?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = beside(target, &format!(".{digits}{NEW}"));
    let file = exclusive().open(&path)?;
    Ok((path, file))
}

/// Whether a file has the owner of files that this process creates in its folder.
fn is_ours(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let own = create_new(path).and_then(|(new, file)| {
            let metadata = file.metadata();
            fs::remove_file(new).and(metadata)
        });
        let found = fs::symlink_metadata(path);
        own.is_ok_and(|own| found.is_ok_and(|found| found.uid() == own.uid()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        true
    }
}

/// Options to create a file that only its owner can read. They neither open an existing file nor follow a link.
fn exclusive() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn overwrite(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = open(target, OpenOptions::new().write(true))?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// Writes a folder to the disk, where the system can do that.
fn sync_folder(target: &Path) {
    #[cfg(unix)]
    let _ = File::open(folder(target)).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = target;
}

fn names(target: &Path, suffix: &str) -> impl Iterator<Item = PathBuf> {
    let numbered = (1..COPIES).map(move |at| format!("{suffix}.{at}"));
    core::iter::once(suffix.to_owned()).chain(numbered).map(|suffix| beside(target, &suffix))
}

fn holds(path: &Path, bytes: &[u8]) -> bool {
    let is_as_long =
        fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64);
    is_as_long && read(path).is_ok_and(|found| found == bytes)
}

fn unless_busy(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::ResourceBusy { Ok(()) } else { Err(error) }
}

fn too_many() -> io::Error {
    io::Error::new(ErrorKind::AlreadyExists, "there are ten copies beside it already; remove some")
}

fn no_file(kind: FileType) -> io::Error {
    let what = describe(kind);
    io::Error::new(ErrorKind::InvalidInput, format!("it is {what}, not a regular file; name another one"))
}

fn describe(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
    }
    if kind.is_dir() { "a folder" } else { "something else" }
}
