//! Credentials of ours are nowhere that the application's user can look, while an application, its agent and a session run.

use std::process::Command;

use super::APPLICATION;
use crate::applications::PYTHON;
use crate::process::{available, skipped};
use crate::support::hoop::{Place, text};

/// Every environment and argument list that can be read, from inside a session.
const SEARCH: &str =
    "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; cat /proc/self/environ";
/// What the search finds if it works, in an application's environment.
const PLAIN: &str = "plain-e2b1c6f0";
/// What nobody may find.
const CANARY: &str = "canary-7f3d90aa";
/// An account that is not ours.
const OTHER_USER: u32 = 61_234;

/// Looks for `canary` with what runs in `place`, started by `command`.
#[track_caller]
fn search(place: &mut Place, command: &mut Command, canary: &str) {
    command
        .env("LOG_LEVEL", "trace")
        .env("AN_ORDINARY_VARIABLE", PLAIN);
    let mut application = place.start(command);
    application.printed("port ");
    place.reached("web", &application);
    let found = place.exec("web", &["sh", "-c", SEARCH]);
    let words = (text(&found.stdout), text(&found.stderr), application.log());
    assert!(words.0.contains(PLAIN), "nothing is found: {words:?}");
    assert!(words.0.contains("hoop\0agent\0"), "{words:?}");
    for (place, words) in ["a process", "the client", "the log"]
        .iter()
        .zip([words.0, words.1, words.2])
    {
        let at = words
            .find(canary)
            .map(|at| words.get(at.saturating_sub(200)..at));
        assert!(at.is_none(), "{place} tells it: {at:?}");
    }
    application.signal(libc::SIGTERM);
    assert_eq!(application.wait().code(), Some(7));
    assert!(!application.log().contains(canary));
}

/// The secret of a key.
fn secret(key: &str) -> String {
    let (_, rest) = key.split_once("://demo:").unwrap();
    rest.split_once('@').unwrap().0.to_owned()
}

/// Searches in `place` whose gateway the agent uses; the key comes by variable, or by argument.
fn through_a_gateway(mut place: Place, by_argument: bool) {
    let key = place.key().unwrap().to_owned();
    let options = ["--name", "web", "--key", &key];
    let options = if by_argument {
        &options[..]
    } else {
        &options[..2]
    };
    let mut command = place.application(options, &[PYTHON, "-c", APPLICATION]);
    if by_argument {
        command.env_remove("HOOP_KEY");
    }
    let canary = secret(&key);
    search(&mut place, &mut command, &canary);
    assert!(!place.gateway().log().contains(&canary));
}

fn here(mut place: Place) {
    let mut command = place.application(&["--name", "web"], &[PYTHON, "-c", APPLICATION]);
    command
        .env("HOOP_TOKEN", CANARY)
        .env("HOOP_DB_URI", format!("postgres://u:{CANARY}@db/x"));
    search(&mut place, &mut command, CANARY);
}

/// A place of another user than root. Whoever is not root is such a user, and has it all in the other tests.
fn of_another_user(test: &str) -> Option<Place> {
    let is_root = nix::unistd::geteuid().is_root();
    (is_root && with_python(test)).then(|| Place::of_user(OTHER_USER))
}

fn with_python(test: &str) -> bool {
    let there = available(PYTHON);
    if !there {
        skipped(test, "no python3");
    }
    there
}

#[test]
fn a_key_in_a_variable() {
    if with_python("a key in a variable") {
        through_a_gateway(Place::with_gateway(), false);
    }
}

#[test]
fn a_key_in_an_argument() {
    if with_python("a key in an argument") {
        through_a_gateway(Place::with_gateway(), true);
    }
}

#[test]
fn other_credentials_here() {
    if with_python("other credentials here") {
        here(Place::local());
    }
}

#[test]
fn a_key_of_another_user() {
    if let Some(place) = of_another_user("a key of another user") {
        through_a_gateway(place.and_gateway(), false);
    }
}

#[test]
fn other_credentials_of_another_user() {
    if let Some(place) = of_another_user("other credentials of another user") {
        here(place);
    }
}
