//! The agent is killed, or stopped, while a console is open and a task runs.

use hoop::sys::process::signal;

use super::{Scene, no_session_is_left, surroundings};
use crate::applications::here_and_through_a_gateway;
use crate::process::{eventually, lives};
use crate::support::hoop::Place;

here_and_through_a_gateway!(killed, stopped, stopped_for_good);

fn killed(place: &mut Place) {
    let Some(mut scene) = Scene::open(place, "killed") else {
        return;
    };
    let before = surroundings(place);
    assert!(
        before.contains(place.directory().to_str().unwrap()),
        "{before}"
    );
    let agent = scene.application.agent();
    signal(agent, libc::SIGKILL).unwrap();
    assert_eq!(scene.console.wait(), 255);
    assert_eq!(scene.task.wait().code(), Some(255));
    no_session_is_left(place);
    eventually("another agent", || {
        (scene.application.agent() != agent).then_some(())
    });
    place.reached("web", &scene.application);
    assert_eq!(surroundings(place), before);
    scene.close(place);
}

fn stopped(place: &mut Place) {
    let Some(mut scene) = Scene::open(place, "stopped") else {
        return;
    };
    let agent = scene.application.agent();
    signal(agent, libc::SIGSTOP).unwrap();
    scene.console.line("echo af''ter");
    let (mut visits, start) = (0, scene.visitor.answers());
    eventually("visits meanwhile", || {
        visits = scene.visitor.answers() - start;
        (visits > 20).then_some(())
    });
    assert!(!scene.console.fresh().contains("\nafter"));
    signal(agent, libc::SIGCONT).unwrap();
    scene.console.expect("\nafter\r\n");
    assert!(!scene.task.ended());
    assert_eq!(scene.application.agent(), agent);
    scene.close(place);
}

/// An agent that is stopped when the application ends does not hold it up.
fn stopped_for_good(place: &mut Place) {
    let Some(mut scene) = Scene::open(place, "stopped for good") else {
        return;
    };
    let agent = scene.application.agent();
    signal(agent, libc::SIGSTOP).unwrap();
    scene.visitor.leave();
    scene.application.signal(libc::SIGTERM);
    assert_eq!(scene.application.wait().code(), Some(7));
    assert!(!lives(agent));
    no_session_is_left(place);
}
