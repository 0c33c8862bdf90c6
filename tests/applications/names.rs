//! Names: which one an application gets, two of one name, one left over, two side by side.

use crate::support::hoop::{Place, text};

const APPLICATION: &[&str] = &[
    "sh",
    "-c",
    "echo up; trap 'exit 9' TERM; while :; do sleep 0.05; done",
];

#[test]
fn a_name_that_is_taken_is_said_and_the_application_runs() {
    let place = Place::local();
    let _first = place.serve("web", &[], APPLICATION);
    let mut command = place.application(&["--name", "web"], APPLICATION);
    let mut second = place.start(command.env("LOG_LEVEL", "warn"));
    second.printed("up");
    let said = second.logged("no console is served: ");
    assert!(said.contains("the name 'web' is taken"), "{said}");
    // The first one still has it.
    assert_eq!(place.exec("web", &["true"]).status.code(), Some(0));
    second.signal(libc::SIGTERM);
    assert_eq!(second.wait().code(), Some(9));
}

#[test]
fn what_a_killed_process_left_is_replaced() {
    let place = Place::local();
    let mut first = place.serve("web", &[], APPLICATION);
    let agent = first.agent();
    let sockets = || {
        std::fs::read_dir(place.root().join("run/hoop"))
            .unwrap()
            .count()
    };
    let before = sockets();
    first.signal(libc::SIGSTOP);
    hoop::sys::process::signal(agent, libc::SIGKILL).unwrap();
    first.signal(libc::SIGKILL);
    first.wait();
    assert_eq!(sockets(), before, "the socket lies there still");
    let listed = place.hoop(&["list"]);
    assert!(!text(&listed.stdout).contains("web"), "{listed:?}");
    let second = place.serve("web", &[], APPLICATION);
    assert!(!second.log().contains("taken"), "{}", second.log());
    assert_eq!(sockets(), before);
}

#[test]
fn two_side_by_side() {
    let place = Place::local();
    let mut blue = place.application(&["--name", "blue"], APPLICATION);
    let blue = place.start(blue.env("COLOUR", "blue"));
    let mut green = place.application(&["--name", "green"], APPLICATION);
    let green = place.start(green.env("COLOUR", "green"));
    place.reached("blue", &blue);
    place.reached("green", &green);
    for name in ["blue", "green"] {
        let told = place.exec(name, &["sh", "-c", "echo $COLOUR"]);
        assert_eq!(text(&told.stdout), format!("{name}\n"));
    }
    let listed = text(&place.hoop(&["list"]).stdout);
    assert!(
        listed.contains("blue") && listed.contains("green"),
        "{listed}"
    );
}

#[test]
fn the_directory_gives_the_name() {
    let place = Place::local();
    let program = place.run(&[], APPLICATION);
    place.reached("app", &program);
    let listed = text(&place.hoop(&["list"]).stdout);
    assert!(listed.contains("app"), "{listed}");
}
