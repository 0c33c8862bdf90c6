//! The clients are killed while their console is open and their task runs.

use hoop::sys::process::signal;

use super::{Scene, no_session_is_left};
use crate::applications::here_and_through_a_gateway;
use crate::support::hoop::Place;

here_and_through_a_gateway!(killed, hung_up);

fn killed(place: &mut Place) {
    let Some(mut scene) = Scene::open(place, "killed clients") else {
        return;
    };
    signal(scene.console.pid(), libc::SIGKILL).unwrap();
    scene.task.signal(libc::SIGKILL);
    scene.task.wait();
    no_session_is_left(place);
    scene.close(place);
}

/// The terminal's window is closed.
fn hung_up(place: &mut Place) {
    let Some(mut scene) = Scene::open(place, "hung up") else {
        return;
    };
    signal(scene.console.pid(), libc::SIGHUP).unwrap();
    scene.task.signal(libc::SIGHUP);
    scene.task.wait();
    no_session_is_left(place);
    scene.close(place);
}
