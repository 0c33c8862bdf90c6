//! A key is revoked while a console is open and a task runs.

use std::time::{Duration, Instant};

use super::{Scene, no_session_is_left};
use crate::support::hoop::{Place, text};

/// Everything of a revoked key ends within this.
const LIMIT: Duration = Duration::from_secs(2);

#[test]
fn ends_console_and_task_but_not_the_application() {
    let place = Place::with_gateway();
    let Some(mut scene) = Scene::open(&place, "revocation") else {
        return;
    };
    let agent = scene.application.agent();
    let deleted = place.hoop(&["admin", "delete", "agent", "demo"]);
    let since = Instant::now();
    assert!(deleted.status.success(), "{}", text(&deleted.stderr));
    assert_eq!(scene.console.wait(), 255);
    assert_eq!(scene.task.wait().code(), Some(255));
    assert!(since.elapsed() < LIMIT, "{:?}", since.elapsed());
    no_session_is_left(&place);
    // The agent tries again, and keeps that to itself.
    scene
        .application
        .logged("no console is served, as before: ");
    let told = scene.application.log();
    assert_eq!(
        told.matches("no console is served for now: ").count(),
        1,
        "{told}"
    );
    assert!(told.contains("key"), "{told}");
    assert_eq!(scene.application.agent(), agent);
    let refused = place.exec("web", &["true"]);
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    scene.visitor.leave();
    scene.application.signal(libc::SIGTERM);
    assert_eq!(scene.application.wait().code(), Some(7));
}
