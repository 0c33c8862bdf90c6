//! Private sockets: where they lie and who may talk.
//!
//! An application's agent listens on one Unix socket; clients of the same account find it by the application's name. The
//! socket lies in the first usable of `$XDG_RUNTIME_DIR/hoop`, `$HOME/.hoop/run` and `/tmp/hoop-UID`, and is looked for in
//! all three, because server and client may have been started with different variables.
//!
//! Rules: a folder of ours has mode 0700, belongs to us (a client also takes root's) and is never reached through a link in its last
//! component; a socket has mode 0600. A file name is 16 hex digits of the name's SHA-256 and `.sock`: `sun_path` holds 107
//! bytes. A socket that nobody answers on is left over from a killed process (an agent without sessions is killed when its
//! application ends) and is removed by the next starter, whatever its name; starters agree by a lock on the file `lock`
//! beside it.

mod socket;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use socket::{BoundSocket, SocketFile};

/// Bytes of a name's hash in a socket's file name.
const HASH_BYTES: usize = 8;

/// What a socket's file name ends in.
const EXTENSION: &str = "sock";

/// The folders in which private sockets lie, best first.
#[derive(Clone, Debug)]
pub struct Places(Vec<PathBuf>);

/// Why no private socket was made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An application of that name is running.
    #[error("the name '{name}' is taken: {} answers", .path.display())]
    Taken {
        /// The name asked for.
        name: String,
        /// The socket that answered.
        path: PathBuf,
    },
    /// None of the folders can be used.
    #[error("no folder for a private socket is usable: {reasons}")]
    NoPlace {
        /// Each folder with its reason.
        reasons: String,
    },
}

impl Places {
    /// The folders of this process' environment.
    pub fn of_process() -> Self {
        Self::new(&|name| std::env::var_os(name))
    }

    /// The folders that an environment names. A variable that is not an absolute path is left out.
    pub fn new(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let below = |name: &str, rest: &str| {
            let folder = PathBuf::from(variable(name)?);
            folder.is_absolute().then(|| folder.join(rest))
        };
        let uid = nix::unistd::geteuid();
        let folders = [
            below("XDG_RUNTIME_DIR", "hoop"),
            below("HOME", ".hoop/run"),
            Some(PathBuf::from(format!("/tmp/hoop-{uid}"))),
        ];
        Self(folders.into_iter().flatten().collect())
    }

    /// Makes the socket of `name` in the first usable folder.
    ///
    /// The listener does not block. The file is removed with the [`SocketFile`], if it is still the same one.
    pub fn bind(&self, name: &str) -> Result<BoundSocket, BindError> {
        let file = file_name(name);
        let taken = |path| BindError::Taken {
            name: name.to_owned(),
            path,
        };
        let mut reasons = Vec::new();
        for folder in &self.0 {
            match self.bind_in(folder, &file) {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(path)) => return Err(taken(path)),
                Err(error) => reasons.push(format!("{}: {error}", folder.display())),
            }
        }
        Err(BindError::NoPlace {
            reasons: reasons.join("; "),
        })
    }

    /// The live socket of `name`.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        self.living(&file_name(name))
    }

    /// All live sockets.
    pub fn list(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in self.0.iter().filter(|folder| socket::is_trusted(folder)) {
            let Ok(entries) = std::fs::read_dir(folder) else {
                continue;
            };
            let paths = entries.flatten().map(|entry| entry.path());
            found.extend(paths.filter(|path| {
                path.extension().is_some_and(|end| end == EXTENSION) && socket::is_alive(path)
            }));
        }
        found.sort();
        found.dedup();
        found
    }

    /// The socket in `folder`, or the path of a living one that has the name already.
    fn bind_in(&self, folder: &Path, file: &str) -> io::Result<Result<BoundSocket, PathBuf>> {
        let lock = socket::lock(folder)?;
        if let Some(path) = self.living(file) {
            return Ok(Err(path));
        }
        socket::sweep(folder, EXTENSION, &lock);
        BoundSocket::new(folder.join(file), &lock).map(Ok)
    }

    fn living(&self, file: &str) -> Option<PathBuf> {
        self.0
            .iter()
            .filter(|folder| socket::is_trusted(folder))
            .map(|folder| folder.join(file))
            .find(|path| socket::is_alive(path))
    }
}

/// Makes the socket of `name` in the first usable folder of this process' environment.
pub fn bind(name: &str) -> Result<BoundSocket, BindError> {
    Places::of_process().bind(name)
}

/// The live socket of `name`.
pub fn find(name: &str) -> Option<PathBuf> {
    Places::of_process().find(name)
}

/// All live sockets.
pub fn list() -> Vec<PathBuf> {
    Places::of_process().list()
}

/// The file name of a name's socket.
fn file_name(name: &str) -> String {
    let hash = Sha256::digest(name.as_bytes());
    let mut text = String::with_capacity(HASH_BYTES * 2 + 1 + EXTENSION.len());
    for byte in hash.iter().take(HASH_BYTES) {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text + "." + EXTENSION
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Places below a folder, without /tmp.
    fn places(folder: &Path) -> Places {
        let variables: HashMap<_, _> = HashMap::from([
            ("XDG_RUNTIME_DIR", folder.join("run")),
            ("HOME", folder.join("home")),
        ]);
        let mut places = Places::new(&|name| {
            variables
                .get(name)
                .map(|path| path.clone().into_os_string())
        });
        assert_eq!(
            places.0.pop(),
            Some(PathBuf::from(format!(
                "/tmp/hoop-{}",
                nix::unistd::geteuid()
            )))
        );
        places
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        std::fs::create_dir(folder.path().join("home")).unwrap();
        folder
    }

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path)
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn a_socket_is_private_found_listed_and_removed_with_its_owner() {
        let folder = folder();
        let places = places(folder.path());
        assert_eq!(places.find("web"), None);
        let socket = places.bind("web").unwrap();
        let path = socket.file.path().to_owned();
        assert_eq!(path.parent(), Some(&*folder.path().join("run/hoop")));
        assert_eq!(path.file_name().unwrap().len(), 21);
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
        assert_eq!(places.find("web"), Some(path.clone()));
        assert_eq!(places.find("other"), None);
        let second = places.bind("other").unwrap();
        let mut both = vec![path.clone(), second.file.path().to_owned()];
        both.sort();
        assert_eq!(places.list(), both);
        drop(socket);
        assert!(!path.exists());
        assert_eq!(places.list(), [second.file.path()]);
    }

    #[test]
    fn a_living_name_is_taken_wherever_it_lies() {
        let folder = folder();
        let places = places(folder.path());
        let only_home = Places(places.0.iter().skip(1).cloned().collect());
        let socket = only_home.bind("web").unwrap();
        match places.bind("web") {
            Err(BindError::Taken { name, path }) => {
                assert_eq!((&*name, &*path), ("web", socket.file.path()));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_by_one_of_many_starters() {
        let folder = folder();
        let places = places(folder.path());
        let path = places.bind("web").unwrap().file.path().to_owned();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert_eq!(places.find("web"), None);
        assert!(places.list().is_empty());
        let results: Vec<_> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..8).map(|_| scope.spawn(|| places.bind("web"))).collect();
            starters
                .into_iter()
                .map(|starter| starter.join().unwrap())
                .collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(
            results
                .iter()
                .filter_map(|result| result.as_ref().err())
                .all(|error| matches!(error, BindError::Taken { .. }))
        );
        assert_eq!(places.find("web"), Some(path));
    }

    #[test]
    fn a_file_that_another_has_made_meanwhile_is_not_removed() {
        let folder = folder();
        let places = places(folder.path());
        let BoundSocket { listener, file } = places.bind("web").unwrap();
        drop(listener);
        let path = file.path().to_owned();
        let second = places.bind("web").unwrap();
        drop(file);
        assert!(path.exists());
        assert_eq!(places.find("web"), Some(path));
        drop(second);
    }

    #[test]
    fn a_folder_that_is_open_to_others_or_a_link_is_passed_over() {
        let folder = folder();
        let places = places(folder.path());
        let first = folder.path().join("run/hoop");
        std::fs::create_dir(&first).unwrap();
        std::fs::set_permissions(&first, std::fs::Permissions::from_mode(0o770)).unwrap();
        let socket = places.bind("web").unwrap();
        assert!(
            socket
                .file
                .path()
                .starts_with(folder.path().join("home/.hoop/run"))
        );
        drop(socket);
        std::fs::remove_dir_all(folder.path().join("home/.hoop/run")).unwrap();
        std::fs::create_dir(folder.path().join("elsewhere")).unwrap();
        symlink(
            folder.path().join("elsewhere"),
            folder.path().join("home/.hoop/run"),
        )
        .unwrap();
        match places.bind("web") {
            Err(error @ BindError::NoPlace { .. }) => {
                let text = error.to_string();
                assert!(text.contains("run/hoop: its mode is 770"), "{text}");
                assert!(text.contains(".hoop/run: is not a folder"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_path_that_is_too_long_or_not_absolute_is_passed_over() {
        let folder = folder();
        let long = folder.path().join("x".repeat(100));
        std::fs::create_dir(&long).unwrap();
        let home = folder.path().join("home");
        let places = Places(vec![long.join("hoop"), home.join("run")]);
        let socket = places.bind("web").unwrap();
        assert!(socket.file.path().starts_with(&home));
        let none = Places::new(&|_| Some("relative".into()));
        assert_eq!(none.0.len(), 1);
    }

    /// A killed agent cannot remove its socket; without this every name ever used would leave a file.
    #[test]
    fn a_start_removes_what_killed_ones_left() {
        let folder = folder();
        let places = places(folder.path());
        let living = places.bind("living").unwrap();
        let left = folder.path().join("run/hoop").join(file_name("left"));
        drop(UnixListener::bind(&left).unwrap());
        let other = folder.path().join("run/hoop/note.sock");
        std::fs::write(&other, "not a socket").unwrap();
        let _new = places.bind("new").unwrap();
        assert!(!left.exists());
        assert!(other.exists());
        assert!(socket::is_alive(
            &folder.path().join("run/hoop").join(file_name("living"))
        ));
        drop(living);
    }
}
