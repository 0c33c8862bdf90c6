//! Names: which one an application gets, two of one name, one left over, two side by side.

use hoop::local::{BoundSocket, Places};

use crate::support::hoop::{Place, text};

const APPLICATION: &[&str] = &[
    "sh",
    "-c",
    "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done",
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
fn applications_that_ended_leave_no_litter() {
    let place = Place::local();
    let living = place.serve("living", &[], APPLICATION);
    for name in ["one", "two", "three"] {
        let mut program = place.serve(name, &[], APPLICATION);
        program.signal(libc::SIGTERM);
        assert_eq!(program.wait().code(), Some(9));
    }
    let last = place.serve("last", &[], APPLICATION);
    // Two sockets and the lock.
    let lying = std::fs::read_dir(place.root().join("run/hoop"))
        .unwrap()
        .count();
    assert_eq!(lying, 3);
    place.reached("living", &living);
    place.reached("last", &last);
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

/// What runs here under a name is meant by it, also while it does not answer.
#[test]
fn one_here_that_does_not_answer_is_not_looked_for_elsewhere() {
    let place = Place::with_gateway();
    let elsewhere = place.serve("web", &[], APPLICATION);
    let home = Places::new(&|name| {
        let folder = place.root().join("run");
        (name == "XDG_RUNTIME_DIR").then(|| folder.into_os_string())
    });
    let BoundSocket { listener, file } = home.bind("web").unwrap();
    listener.set_nonblocking(false).unwrap();
    let hanging_up = std::thread::spawn(move || while let Ok((_stream, _)) = listener.accept() {});
    let told = place.exec("web", &["echo", "elsewhere"]);
    let said = text(&told.stderr);
    assert_eq!(told.status.code(), Some(125), "{said}");
    assert!(
        said.contains("the application 'web' on this machine does not answer"),
        "{said}"
    );
    assert_eq!(text(&told.stdout), "");
    assert!(!hanging_up.is_finished());
    drop(file);
    place.reached("web", &elsewhere);
}
