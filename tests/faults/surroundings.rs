//! Places where something usual is missing: the application runs, and is reached where that is possible at all.

use std::process::Command;

use crate::support::hoop::{Place, text};

const APPLICATION: &[&str] = &[
    "sh",
    "-c",
    "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done",
];

/// Runs an application by a changed command, which must be reached, and ends it.
#[track_caller]
fn serves(place: &Place, name: &str, change: impl Fn(&mut Command)) {
    let mut command = place.application(&["--name", name], APPLICATION);
    change(&mut command);
    let mut program = place.start(&mut command);
    program.printed("up");
    let told = loop {
        let mut task = place.command(&["exec", name, "--", "pwd"]);
        change(&mut task);
        let told = place.start(&mut task).finish();
        if told.0 == Some(0) {
            break told.1;
        }
        assert!(!program.ended());
    };
    assert_eq!(told.trim(), place.directory().to_str().unwrap());
    program.signal(libc::SIGTERM);
    assert_eq!(program.wait().code(), Some(7));
}

#[test]
fn no_standard_input() {
    let place = Place::local();
    let run = place.application(&["--name", "web"], APPLICATION);
    let mut shell = place.program("sh");
    shell
        .args(["-c", "exec \"$0\" \"$@\" <&-"])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(place.directory());
    let mut program = place.start(&mut shell);
    program.printed("up");
    place.reached("web", &program);
    let told = place.exec("web", &["sh", "-c", "cat; echo done"]);
    assert_eq!(text(&told.stdout), "done\n");
    program.signal(libc::SIGTERM);
    assert_eq!(program.wait().code(), Some(7));
}

#[test]
fn no_home() {
    serves(&Place::local(), "web", |command| {
        command.env_remove("HOME");
    });
}

#[test]
fn a_home_that_cannot_be_written_to() {
    // Not even by root.
    serves(&Place::local(), "web", |command| {
        command.env("HOME", "/proc");
    });
}

#[test]
fn no_runtime_directory() {
    serves(&Place::local(), "web", |command| {
        command.env_remove("XDG_RUNTIME_DIR");
    });
}

#[test]
fn neither_runtime_directory_nor_home() {
    let place = Place::local();
    // The socket lies in /tmp, together with those of other applications.
    let name = place
        .root()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_lowercase();
    serves(&place, &name, |command| {
        command.env_remove("XDG_RUNTIME_DIR").env_remove("HOME");
    });
}
