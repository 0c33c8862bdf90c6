//! The gateway is killed while a console is open and a task runs, and comes back.

use super::{Scene, no_session_is_left};
use crate::support::hoop::Place;

#[test]
fn killed_and_started_again() {
    let mut place = Place::with_gateway();
    let Some(mut scene) = Scene::open(&place, "killed gateway") else {
        return;
    };
    let agent = scene.application.agent();
    place.gateway().kill();
    assert_eq!(scene.console.wait(), 255);
    assert_eq!(scene.task.wait().code(), Some(255));
    no_session_is_left(&place);
    place.restart_gateway();
    place.reached("web", &scene.application);
    assert_eq!(
        scene.application.agent(),
        agent,
        "the agent lived through it"
    );
    scene.close(&place);
}
