//! Why a program was not started, as exit code and in words.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::sys::Errno;
use crate::sys::exec::{Image, Search};
use crate::sys::spawn::{SpawnError, Step};

/// A program that does not exist.
const NOT_FOUND: i32 = 127;
/// A program that exists and cannot be executed.
const NOT_EXECUTABLE: i32 = 126;
/// Nothing was run, for a reason that is not the program's.
pub(crate) const NOTHING_RUN: i32 = 125;

/// How much of a script is read to find its interpreter, in bytes; the kernel reads as much.
const HEAD: u64 = 256;

/// Exit code for a program that was not started.
pub(crate) fn code(error: SpawnError) -> i32 {
    match (error.step, error.errno) {
        (Step::Exec, Errno::ENOENT) => NOT_FOUND,
        (Step::Exec, errno) if !out_of_resources(errno) => NOT_EXECUTABLE,
        _ => NOTHING_RUN,
    }
}

/// Reason for a person, without naming what was being done.
pub(crate) fn reason(error: SpawnError, image: &Image) -> String {
    let text = error.errno.desc();
    let existing = match image {
        Image::Search(search) if error.step == Step::Exec => Search::existing(search),
        _ => None,
    };
    match (error.errno, existing) {
        (Errno::ENOENT, Some(path)) => missing_part(&path),
        (Errno::EACCES, Some(path)) if path.is_dir() => Errno::EISDIR.desc().to_owned(),
        _ if error.step == Step::Exec => text.to_owned(),
        _ => format!("{}: {text}", step(error.step)),
    }
}

/// What was being done, for a person.
fn step(step: Step) -> &'static str {
    match step {
        Step::Fork => "cannot make a process",
        Step::Terminal => "cannot take the terminal",
        Step::Descriptors => "cannot put descriptors in place",
        Step::Directory => "cannot enter the directory",
        Step::Exec => "cannot execute",
    }
}

const fn out_of_resources(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::E2BIG | Errno::ENOMEM | Errno::EAGAIN | Errno::EMFILE | Errno::ENFILE
    )
}

/// The file is there, so something that it needs is not.
fn missing_part(path: &Path) -> String {
    match interpreter(path) {
        Some(interpreter) => format!(
            "interpreter '{interpreter}' of script '{}' not found",
            path.display()
        ),
        None => format!("loader of '{}' not found", path.display()),
    }
}

/// The program named after `#!`.
fn interpreter(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(path)
        .ok()?
        .take(HEAD)
        .read_to_end(&mut head)
        .ok()?;
    let line = head
        .strip_prefix(b"#!")?
        .split(|&byte| byte == b'\n')
        .next()?;
    let mut words = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let word: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(words.next()?);
    Some(word.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Errno, SpawnError, Step, code};

    #[test]
    fn codes_tell_missing_unusable_and_ours_apart() {
        let exec = |errno| {
            code(SpawnError {
                step: Step::Exec,
                errno,
            })
        };
        assert_eq!(exec(Errno::ENOENT), 127);
        for errno in [
            Errno::EACCES,
            Errno::ENOEXEC,
            Errno::EPERM,
            Errno::ENOTDIR,
            Errno::ELOOP,
        ] {
            assert_eq!(exec(errno), 126, "{errno}");
        }
        for errno in [Errno::E2BIG, Errno::ENOMEM, Errno::EAGAIN] {
            assert_eq!(exec(errno), 125, "{errno}");
        }
        assert_eq!(
            code(SpawnError {
                step: Step::Fork,
                errno: Errno::EAGAIN
            }),
            125
        );
        assert_eq!(
            code(SpawnError {
                step: Step::Directory,
                errno: Errno::ENOENT
            }),
            125
        );
    }
}
